"""Words, numbers and identifiers of RULER's tasks."""

from __future__ import annotations

import random
import re

from pipeline.evaluation.ruler.words import adjectives, all_words, distinct, fact, letters, nouns


def test_word_lists_are_large_sorted_and_plain() -> None:
    for words, least in ((nouns(), 5000), (adjectives(), 800), (all_words(), 6500)):
        assert len(words) > least
        assert list(words) == sorted(set(words))
        assert all(re.fullmatch("[a-z]+", word) for word in words)


def test_facts_have_their_form_and_are_different() -> None:
    rng = random.Random(0)
    forms = {"words": r"[a-z]+-[a-z]+", "numbers": r"\d{7}", "uuids": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-.{17}"}
    for kind, form in forms.items():
        found = distinct(kind, 200, rng)  # type: ignore[arg-type]
        assert len(set(found)) == 200
        assert all(re.fullmatch(form, one) for one in found)
    assert fact("numbers", random.Random(5)) == fact("numbers", random.Random(5))
    assert re.fullmatch("[A-Z]{5}", letters(5, rng, upper=True))
