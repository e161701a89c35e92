"""The rules for text: what each of them rejects, and how it is computed."""

from __future__ import annotations

import random

import pytest

from pipeline.filters.limit_filter import reject_numbers
from pipeline.filters.limit_table import DEFAULTS
from pipeline.filters.text_rules import VERSION, TextCounts, measure, repetition
from schemas.errors import Reason
from tests.support.golden import check_golden
from tests.support.texts import sentences, story

NONSENSE = {
    "gopher_word_length": " ".join("ab c de f gh" for _ in range(900)),
    "gopher_alphabetic_words": " ".join(str(random.Random(i).random())[2:8] for i in range(2000)),
    "gopher_repeated_5gram": "The clocks were striking thirteen on a cold day that had been bright. " * 200,
    "gopher_repeated_lines": "\n".join(random.Random(i).choice(sentences(1, 40)) for i in range(300)),
    "fineweb_short_lines": "\n".join(f"{a} {b}." for s in sentences(2, 300) for a, b in [s.split()[:2]]),
    "fineweb_ended_lines": "\n".join(s.rstrip(".") for s in sentences(3, 100)),
    "gopher_ellipsis_lines": "\n".join(s.rstrip(".") + "..." for s in sentences(3, 100)),
    "gopher_bullet_lines": "\n".join("- " + s for s in sentences(3, 100)),
    "gopher_symbols": " ".join(f"#{w}" for s in sentences(3, 100) for w in s.split()) + ".",
    "gopher_stop_words": "\n".join(
        s for s in sentences(4, 2000) if not {"the", "that", "and"} & set(s.lower().split())
    ),
}


@pytest.mark.parametrize("name", sorted(NONSENSE))
def test_every_rule_rejects_text_that_breaks_it(name: str) -> None:
    numbers = measure(NONSENSE[name], "en")
    broken = DEFAULTS[name].reject(numbers[name])
    assert broken is not None
    assert broken[0] is Reason.QUALITY
    assert DEFAULTS[name].reject(measure(story(1, 40), "en")[name]) is None
    verdict = reject_numbers(numbers, DEFAULTS)
    assert verdict is not None


def test_repeated_ngrams_are_counted_as_in_the_gopher_paper() -> None:
    five = "one two three four five"
    numbers = measure(f"{five} {five} six seven.", "en")  # the words of the second five repeat the first
    assert numbers["gopher_repeated_5gram"] == pytest.approx(19 / 58)
    assert numbers["gopher_repeated_6gram"] == 0
    assert numbers["gopher_top_2gram"] == pytest.approx(2 * len("three four") / 58)
    assert repetition("a b\n* * *\nc\n* * *\na b\n")["gopher_repeated_lines"] == pytest.approx(1 / 3)


def test_counts_of_passages_add_up_to_those_of_the_text() -> None:
    parts = [story(1, 5), story(2, 5)]
    total = TextCounts.sum(TextCounts.of(part) for part in parts)
    whole = TextCounts.of("".join(parts))
    for name in ("characters", "words", "lines", "hashes", "ended_lines", "short_lines", "stop_words"):
        assert getattr(total, name) == getattr(whole, name)


def test_rules_about_words_do_not_apply_to_scripts_without_spaces() -> None:
    assert set(TextCounts.of("a b").numbers("ja")) == {
        "gopher_bullet_lines",
        "gopher_ellipsis_lines",
        "fineweb_ended_lines",
    }
    assert "gopher_stop_words" not in TextCounts.of("a b").numbers("de")


def test_an_empty_text_has_numbers() -> None:
    assert all(0 <= value <= 1 for value in measure("", None).values())


def test_numbers_change_only_with_the_version() -> None:
    text = story(3, 30) + "\n* * *\n- a list\n- a list\n\nAnd so on...\n"
    check_golden("text_rules", VERSION, {language: dict(measure(text, language)) for language in ("en", "ja")})
