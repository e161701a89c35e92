"""LongBench's files become questions with its scores; long documents lose their middle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.files.longbench import longbench_samples
from pipeline.evaluation.haystack import Budget
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.scorers import score
from schemas.errors import ConfigError
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return text_tokenizer("own", [story(1, 60)], tmp_path_factory.mktemp("t") / "t.model")


def samples(folder: Path, tokenizer: TextTokenizer, *rows: dict[str, Any], length: int = 4000) -> list[Sample]:
    path = folder / "task.jsonl"
    path.write_text("\n".join(json.dumps({"context": "A text.", "answers": ["an answer"]} | row) for row in rows))
    return list(longbench_samples([path], Budget(tokenizer, length, 1, 20)))


def test_each_task_has_its_scorer_and_length_of_reply(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    found = samples(
        tmp_path,
        tokenizer,
        {"dataset": "hotpotqa", "input": "Who?"},
        {"dataset": "trec", "input": "Q", "all_classes": ["City", "Date"], "answers": ["City"]},
        {"dataset": "passage_count", "answers": ["7"], "input": ""},
        {"dataset": "gov_report_e", "input": ""},
    )
    assert [(sample.scorer, sample.request.max_tokens) for sample in found] == [
        ("word_f1", 32),
        ("class", 64),
        ("numbers", 32),
        ("rouge_l", 512),
    ]
    assert len({sample.id for sample in found}) == 4
    assert found[0].request.messages[0].text.endswith("A text.\n\nWho?")
    assert score(found[1].scorer, "City\nDate", found[1].references, found[1].facts) == 1
    assert score(found[1].scorer, "City Date", found[1].references, found[1].facts) == 0.5
    assert score(found[2].scorer, "There are 7.", found[2].references, found[2].facts) == 1


def test_a_long_document_loses_its_middle(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    text = story(1, 300)
    (sample,) = samples(tmp_path, tokenizer, {"dataset": "qasper", "input": "What?", "context": text}, length=1500)
    prompt = sample.request.messages[0].text
    used = len(tokenizer.encode(prompt)) + 20 + sample.request.max_tokens
    assert 0.97 * 1500 < used <= 1500
    assert text[:200] in prompt
    assert text[-200:] in prompt


def test_tasks_that_cannot_be_scored_are_named(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    with pytest.raises(ConfigError, match="unknown task 'x' of LongBench"):
        samples(tmp_path, tokenizer, {"dataset": "x"})
    with pytest.raises(ConfigError, match="leaves no room"):
        samples(tmp_path, tokenizer, {"dataset": "qasper"}, length=160)


def test_chinese_answers_are_scored_by_segmented_words(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    rows = [
        {"dataset": name, "input": "谁来了？", "context": "渡船离开了港口。", "answers": ["渡船离开了港口。"]}
        for name in ("multifieldqa_zh", "dureader", "vcsum")
    ]
    for sample in samples(tmp_path, tokenizer, *rows):
        assert "in Chinese" in sample.request.messages[0].text
        assert 0 < score(sample.scorer, "渡船离开了海岛", sample.references, sample.facts) < 1
        assert score(sample.scorer, sample.references[0], sample.references, sample.facts) == pytest.approx(1)
