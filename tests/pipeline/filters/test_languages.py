"""The filter by language."""

from __future__ import annotations

import pytest

from pipeline.filters.languages import LanguageFilter
from schemas.errors import Reason
from tests.support.survey_rows import book, typed, video


@pytest.mark.parametrize(
    ("language", "allowed", "detail"),
    [
        ("en", (), None),
        ("en", ("de", " EN"), None),
        ("fr", ("de", "en"), "language fr is not one of de, en (--languages)"),
        (None, ("de",), "language unknown is not one of de (--languages)"),
        (None, (), None),
    ],
)
def test_the_language_of_a_book_must_be_listed_if_any_is(
    language: str | None, allowed: tuple[str, ...], detail: str | None
) -> None:
    rejection = LanguageFilter(languages=allowed).reject(typed(book(language=language)))
    assert rejection == (detail and (Reason.LANGUAGE, detail))


def test_items_of_other_kinds_are_kept() -> None:
    assert LanguageFilter(languages=("de",)).reject(typed(video(language=None))) is None
