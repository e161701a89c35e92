"""RULER's samples: prompts fill their length and contain the answers, and scores tell right from wrong replies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.evaluation.haystack import Budget, Haystack
from pipeline.evaluation.ruler.samples import TASKS, RulerConfig, ruler_samples
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.scorers import score
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer


def samples(config: RulerConfig, haystack: Haystack | None, tokenizer: TextTokenizer) -> list[Sample]:
    return list(ruler_samples(config, haystack, Budget(tokenizer, 1, 1, 30)))


@pytest.mark.parametrize("name", TASKS)
def test_prompts_fill_their_length_and_hold_the_answers(
    name: str, haystack: Haystack, tokenizer: TextTokenizer
) -> None:
    found = samples(RulerConfig(tasks=(name,), lengths=(4000, 8000), samples=2), haystack, tokenizer)
    assert len({sample.id for sample in found}) == 4
    assert len({sample.references for sample in found}) == 4
    for sample in found:
        prompt = sample.request.messages[-1].text
        assert all(answer in prompt for answer in sample.references)
        assert sample.length is not None
        used = len(tokenizer.encode(prompt)) + 30 + sample.request.max_tokens
        assert 0.9 * sample.length < used <= sample.length
        assert score(sample.scorer, f"They are {', '.join(sample.references)}.", sample.references) == 1
        assert score(sample.scorer, "I do not know.", sample.references) == 0


def test_the_numbers_of_answers_are_rulers(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    found = samples(RulerConfig(lengths=(4000,), samples=1), haystack, tokenizer)
    assert {sample.task: len(sample.references) for sample in found} == {
        **dict.fromkeys(TASKS, 1),
        "niah_multivalue": 4,
        "niah_multiquery": 4,
        "vt": 5,
        "cwe": 10,
        "fwe": 3,
    }


def test_the_answers_of_word_counts_are_the_commonest(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    for sample in samples(RulerConfig(tasks=("cwe", "fwe"), lengths=(6000,), samples=3), None, tokenizer):
        asked = sample.request.messages[-1].text.rsplit("\n\n", 1)[-1]
        words = [word.strip(".,?") for word in asked.split()]
        counts = {word: words.count(word) for word in set(words) if word.isalpha() and word not in _SPOKEN.split()}
        commonest = sorted(counts, key=lambda word: -counts[word])[: len(sample.references)]
        assert set(commonest) == set(sample.references)


_SPOKEN = "the of in below Some words Remember these occur more often than others made-up coded text"


def test_a_chain_of_variables_leads_to_its_value(tokenizer: TextTokenizer) -> None:
    (sample,) = samples(RulerConfig(tasks=("vt",), lengths=(3000,), samples=1), None, tokenizer)
    asked = sample.request.messages[-1].text.rsplit("\n\nFollow", 1)[1]
    values: dict[str, str] = {}
    for line in asked.splitlines():
        if line.startswith("VAR "):
            name, _, value = line.removeprefix("VAR ").partition(" = ")
            values[name] = values[value.removeprefix("VAR ")] if value.startswith("VAR ") else value
    assert set(values) == set(sample.references)
    (number,) = set(values.values())
    assert f"have the value {number}" in asked


def test_the_same_seed_gives_the_same_samples(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    config = RulerConfig(tasks=("niah_multikey_1", "vt"), lengths=(3000,), samples=2)
    assert samples(config, haystack, tokenizer) == samples(config, haystack, tokenizer)
    assert samples(config, haystack, tokenizer) != samples(replace(config, seed=1), haystack, tokenizer)


def test_what_is_missing_is_said(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    with pytest.raises(ConfigError, match="the task niah_single_2 needs a text"):
        samples(RulerConfig(tasks=("niah_single_2",)), None, tokenizer)
    with pytest.raises(ConfigError, match="too short"):
        samples(RulerConfig(tasks=("fwe",), lengths=(200,)), None, tokenizer)
    with pytest.raises(ConfigError, match="unknown tasks qa_1"):
        RulerConfig(tasks=("qa_1",))
