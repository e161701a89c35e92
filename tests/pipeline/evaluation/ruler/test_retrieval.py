"""Retrieval tasks: which facts are hidden, and which are asked."""

from __future__ import annotations

import random

import pytest

from pipeline.evaluation.ruler.retrieval import Retrieval
from pipeline.evaluation.ruler.task import FILLER, Material
from schemas.errors import ConfigError


def test_facts_among_facts_have_one_right_answer() -> None:
    question = Retrieval(context="facts", key_kind="uuids", value_kind="uuids").make(
        50, random.Random(0), Material(None, 4096)
    )
    lines = question.prompt.splitlines()[1:-1]
    key = question.prompt.rsplit(" of ", 1)[1].split("?")[0]
    assert len(lines) == 51
    assert [line for line in lines if key in line] == [f"One of the secret UUIDs of {key} is: {question.answers[0]}."]


def test_a_key_with_several_facts_asks_for_all_of_them() -> None:
    question = Retrieval(context="filler", values=3).make(20, random.Random(0), Material(None, 4096))
    hidden = [line for line in question.prompt.splitlines() if line.startswith("One of")]
    assert {line.rsplit(": ", 1)[1].rstrip(".") for line in hidden} == set(question.answers)
    assert len(hidden) == 3
    assert question.prompt.count(FILLER) == 20
    assert "What are all secret numbers of" in question.prompt


def test_a_larger_size_asks_the_same() -> None:
    task = Retrieval(context="filler")
    small, large = (task.make(size, random.Random(1), Material(None, 4096)) for size in (5, 500))
    assert small.answers == large.answers
    assert small.prompt.rsplit("\n", 1)[1] == large.prompt.rsplit("\n", 1)[1]


def test_text_has_to_be_given() -> None:
    with pytest.raises(ConfigError, match="--haystack"):
        Retrieval(context="text").make(5, random.Random(0), Material(None, 4096))
