"""Scores equal those of the public evaluations.

`published_scores.json` has replies of random words with the figures that the original code gave for them, some rounded
to 4 digits: RULER's string_match_all and string_match_part, LongBench's metrics (with rouge 1.0.1, fuzzywuzzy 0.18,
jieba 0.42.1), LOFT's recall, coverage and exact match.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from pipeline.evaluation.scorers import SCORERS, final_answers, score
from schemas.errors import ConfigError

_ROWS = json.loads(Path(__file__).with_name("published_scores.json").read_text())


@pytest.mark.parametrize("name", sorted({row["scorer"] for row in _ROWS}))
def test_scores_equal_those_of_the_original_code(name: str) -> None:
    rows = [row for row in _ROWS if row["scorer"] == name]
    assert len(rows) == 20
    assert len({row["score"] for row in rows}) > 1
    for row in rows:
        assert score(name, row["reply"], row["references"], row["facts"]) == pytest.approx(row["score"], abs=6e-5), row


def test_every_scorer_but_that_of_letters_was_compared() -> None:
    assert {*Counter(row["scorer"] for row in _ROWS), "choice"} == set(SCORERS)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_an_empty_reply_scores_zero(name: str) -> None:
    assert score(name, "", ["Paragraph 3"], {"classes": ["Paragraph 3"]}) == 0


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("(C) a red ball", "C"),
        ("B. The ball", "B"),
        ("Answer: D", "D"),
        ("The answer is (A).", "A"),
        ("A", "A"),
        ("Because of the ball", None),
        ("It is unclear", None),
    ],
)
def test_the_letter_of_a_choice_is_found(reply: str, letter: str | None) -> None:
    assert [option for option in "ABCD" if score("choice", reply, [option])] == ([letter] if letter else [])


def test_final_answers_are_read_from_a_list_or_a_line() -> None:
    assert final_answers("I see.\nFinal Answer: ['12', \"7\", 3]") == ["12", "7", "3"]
    assert final_answers("final answer: Paris\nand so on") == ["Paris"]
    assert final_answers("Paris") == ["Paris"]
    assert final_answers("") == []


def test_an_unknown_scorer_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown scorer 'best'"):
        score("best", "", [""])
