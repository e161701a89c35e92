"""Needle samples: the prompt contains every needle, at its depth, and has the length of the sample."""

from __future__ import annotations

import re

import pytest

from pipeline.evaluation.haystack import Budget, Haystack
from pipeline.evaluation.needles import CITIES, NeedleConfig, needle_samples
from pipeline.evaluation.scorers import score
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer

_NEEDLE = re.compile(r"The special magic (.+) number is: (\d{7})")


@pytest.mark.parametrize(("needles", "asked"), [(1, 1), (4, 2), (6, 6)])
def test_prompts_of_the_asked_length_contain_the_needles(
    haystack: Haystack, tokenizer: TextTokenizer, needles: int, asked: int
) -> None:
    config = NeedleConfig(lengths=(1500, 3000), depths=3, rounds=2, needles=needles, asked=asked)
    samples = list(needle_samples(config, haystack, Budget(tokenizer, 1, 1, 20)))
    assert len({sample.id for sample in samples}) == len(samples) == 12
    for sample in samples:
        prompt = sample.request.messages[-1].text
        found = dict(_NEEDLE.findall(prompt))
        assert len(found) == needles
        assert [number for city, number in found.items() if number in sample.references] != []
        assert len(sample.references) == asked
        assert all(city in prompt.rsplit("What ", 1)[1] for city, n in found.items() if n in sample.references)
        used = len(tokenizer.encode(prompt)) + 20 + sample.request.max_tokens
        assert sample.length is not None
        assert 0.97 * sample.length < used <= sample.length
        assert score(sample.scorer, " and ".join(sample.references), sample.references) == 1


def test_the_needle_is_at_its_depth(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    config = NeedleConfig(lengths=(4000,), depths=5, rounds=1)
    for sample in needle_samples(config, haystack, Budget(tokenizer, 1, 1, 20)):
        context = sample.request.messages[-1].text.rsplit("What ", 1)[0]
        place = context.index("\nThe special magic")
        assert place / len(context.rstrip()) == pytest.approx(sample.depth, abs=0.05)


def test_the_same_seed_gives_the_same_samples(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    def samples(seed: int) -> list[str]:
        config = NeedleConfig(lengths=(1000,), depths=2, rounds=2, seed=seed)
        return [s.request.messages[-1].text for s in needle_samples(config, haystack, Budget(tokenizer, 1, 1, 20))]

    assert samples(1) == samples(1) != samples(2)


def test_cities_are_different() -> None:
    assert len(set(CITIES)) == len(CITIES) > 64
    assert not [city for city in CITIES if any(city != other and city in other for other in CITIES)]


def test_a_length_without_room_or_text_raises(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    for length, problem in ((150, "too short"), (10**6, "are needed")):
        config = NeedleConfig(lengths=(length,))
        with pytest.raises(ConfigError, match=problem):
            list(needle_samples(config, haystack, Budget(tokenizer, 1, 1, 20)))


@pytest.mark.parametrize("changes", [{"asked": 2}, {"needles": 500}, {"lengths": ()}, {"rounds": 0}])
def test_a_wrong_configuration_raises(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        NeedleConfig(**changes)  # type: ignore[arg-type]
