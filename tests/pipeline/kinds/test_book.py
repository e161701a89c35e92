"""Books through their kind: survey, tokens, texts and fingerprints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.dedup.book_similarity import BookSimilarity
from pipeline.kinds.book import BOOK
from pipeline.survey.config import SurveyConfig
from pipeline.survey.tools import SurveyTools
from pipeline.text.books import BookConfig
from pipeline.text.formats.registry import FORMATS
from pipeline.text.options import TextOptions
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.tools import TokenizeTools
from schemas.errors import InputError
from schemas.rows import Cut
from tests.pipeline.kinds.conftest import survey_row
from tests.support.texts import story


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(story(0, 4))
    return path


def test_books_have_the_extensions_of_all_formats() -> None:
    assert {".txt", ".epub", ".xhtml"} < set(BOOK.endings)
    assert all(set(book_format.suffixes) <= set(BOOK.endings) for book_format in FORMATS)


def test_a_surveyed_book_is_tokenized_to_its_text(
    path: Path, survey_tools: SurveyTools, tokenize_tools: TokenizeTools
) -> None:
    found = BOOK.survey(path, survey_tools)
    assert found.text is not None
    assert found.text.language == "en"
    assert found.measures["words"] > 100
    assert found.signature is not None
    row = survey_row(path, "book", found)
    (document,) = BOOK.tokenize(path, row, tokenize_tools)
    tokens, vocabulary = document.document.tokens, tokenize_tools.vocabulary
    assert (tokens[0], tokens[-1]) == (vocabulary.bos_id, vocabulary.eos_id)
    text = "".join(BOOK.texts(path, row, TextOptions()))
    assert tokenize_tools.text.decode(tokens[1:-1]) == text
    assert (document.clip_number, document.frames) == (None, 0)


def test_cuts_are_removed_from_texts(path: Path, survey_tools: SurveyTools) -> None:
    found = BOOK.survey(path, survey_tools)
    row = survey_row(path, "book", found)
    whole = "".join(BOOK.texts(path, row, TextOptions()))
    cut = dataclasses.replace(row, cuts=(Cut(0, 100, "boilerplate"),))
    assert "".join(BOOK.texts(path, cut, TextOptions())) == whole[100:].lstrip()


def test_a_book_that_changed_after_the_survey_is_rejected(
    path: Path, survey_tools: SurveyTools, tokenize_tools: TokenizeTools
) -> None:
    row = survey_row(path, "book", BOOK.survey(path, survey_tools))
    path.write_text(story(1, 4))
    with pytest.raises(InputError):
        BOOK.tokenize(path, row, tokenize_tools)


def test_fingerprints_change_with_cuts_and_cleaning_options_only(path: Path, survey_tools: SurveyTools) -> None:
    row, config = survey_row(path, "book", BOOK.survey(path, survey_tools)), TokenizeConfig()
    before = BOOK.token_fingerprint(row, config)
    masked = BookConfig(mask_pii=True)
    assert BOOK.token_fingerprint(row, dataclasses.replace(config, books=masked)) != before
    assert BOOK.token_fingerprint(dataclasses.replace(row, cuts=(Cut(0, 9, "language"),)), config) != before
    assert BOOK.token_fingerprint(dataclasses.replace(row, title="Another"), config) == before
    assert BOOK.token_fingerprint(row, dataclasses.replace(config, crop_bars=False)) == before
    surveyed = BOOK.survey_fingerprint(survey_tools)
    text = TextOptions(books=masked)
    assert BOOK.survey_fingerprint(dataclasses.replace(survey_tools, text=text)) != surveyed
    assert BOOK.survey_fingerprint(dataclasses.replace(survey_tools, config=SurveyConfig(thumbnails=9))) == surveyed


def test_similarity_and_size_limit_of_books() -> None:
    assert isinstance(BOOK.similarity(), BookSimilarity)
    assert BOOK.max_bytes(TextOptions(books=BookConfig(max_bytes=7))) == 7
