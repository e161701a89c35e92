"""Tasks that count words refuse sizes at which the answer is open, or the words run out."""

from __future__ import annotations

import random

import pytest

from pipeline.evaluation.ruler.task import Material
from pipeline.evaluation.ruler.word_counts import CommonWords, FrequentWords
from schemas.errors import ConfigError


def test_counts_that_are_equal_leave_the_answer_open() -> None:
    with pytest.raises(ConfigError, match="third and fourth words are equally common"):
        FrequentWords().make(10, random.Random(0), Material(None, 4096))


def test_there_are_not_enough_words_for_any_length() -> None:
    with pytest.raises(ConfigError, match=r"cwe has \d+ words"):
        CommonWords().make(10**6, random.Random(0), Material(None, 4096))
