from __future__ import annotations

from collections import Counter

import pytest

from pipeline.evaluation.haystack import Haystack
from pipeline.synthesis.item import SynthConfig, token_count
from pipeline.synthesis.ruler import ruler_documents
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer


def test_tasks_have_equal_numbers_of_documents_and_answers(tokenizer: TextTokenizer, haystack: Haystack) -> None:
    tasks = ("niah_single_1", "niah_multikey_1", "vt")
    made = list(ruler_documents(tasks, SynthConfig(length=2500, count=4), haystack, tokenizer))
    assert Counter(one.facts["ruler_task"] for one in made) == {tasks[0]: 2, tasks[1]: 1, tasks[2]: 1}
    for one in made:
        question, answer = one.turns
        assert all(part in question.text for part in answer.text.split(", "))
        assert token_count(one.turns, tokenizer) <= 2500


def test_fewer_documents_than_tasks_are_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ConfigError, match="1 document cannot have 2 tasks"):
        list(ruler_documents(("vt", "cwe"), SynthConfig(length=2500, count=1), None, tokenizer))
