"""Language identification and the majority of passages."""

from __future__ import annotations

import pytest

from pipeline.text.language import MIN_CONFIDENCE, are_alike, identify_language, majority_language
from tests.support.texts import story


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (story(1), "en"),
        ("Die Bäume standen im grünen Wald, und die Straße führte über die Brücke zum alten Schloss. " * 5, "de"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 9, "ja"),
    ],
)
def test_language_of_a_text_is_identified(text: str, language: str) -> None:
    found, probability = identify_language(text)
    assert found == language
    assert probability >= MIN_CONFIDENCE


def test_identification_is_deterministic() -> None:
    assert identify_language(story(2)) == identify_language(story(2))


def test_majority_counts_characters_of_confident_passages() -> None:
    assert majority_language([("en", 0.99, 10), ("de", 0.99, 30), ("fr", 0.4, 900)]) == ("de", 0.75)


def test_majority_of_unconfident_passages_counts_all_and_of_none_is_none() -> None:
    assert majority_language([("fr", 0.4, 9)]) == ("fr", 1.0)
    assert majority_language([]) == (None, 0.0)


def test_equal_shares_give_the_first_language_in_alphabetical_order() -> None:
    assert majority_language([("fr", 0.99, 10), ("de", 0.99, 10)]) == ("de", 0.5)


def test_languages_that_passages_do_not_tell_apart_are_alike() -> None:
    assert are_alike("zh", "yue")
    assert are_alike("hr", "sr")
    assert are_alike("en", "en")
    assert are_alike(None, None)
    assert not are_alike("en", "de")
    assert not are_alike("zh", "ja")
    assert not are_alike("zh", None)
