"""Books: files or table rows of text, cleaned, and split by the packer at sentence ends where it needs to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.dedup.book_similarity import BookSimilarity
from pipeline.dedup.similarity import Similarity
from pipeline.kinds.kind import BaseKind, Surveyed, TokenizedDocument
from pipeline.survey.book_analysis import book_fingerprint, survey_book
from pipeline.text.books import read_book
from pipeline.text.formats.registry import FORMATS
from pipeline.text.options import TextOptions
from pipeline.tokenize.interleave import book_document
from schemas.deadline import checked
from schemas.rows import SurveyRow

if TYPE_CHECKING:
    from pipeline.survey.tools import SurveyTools
    from pipeline.tokenize.config import TokenizeConfig
    from pipeline.tokenize.tools import TokenizeTools


class _Book(BaseKind):
    name = "book"
    endings = tuple(suffix for book_format in FORMATS for suffix in book_format.suffixes)
    is_splittable = True

    def similarity(self) -> Similarity:
        """See ItemKind."""
        return BookSimilarity()

    def max_bytes(self, options: TextOptions) -> int:
        """See ItemKind."""
        return options.books.max_bytes

    def time_limit_s(self, options: TextOptions) -> float:
        """See ItemKind."""
        return options.books.time_limit_s

    def survey_fingerprint(self, tools: SurveyTools) -> Any:
        """See ItemKind."""
        return book_fingerprint(tools.text.books, tools.config.books)

    def survey(self, path: Path, tools: SurveyTools) -> Surveyed:
        """See ItemKind."""
        return survey_book(path, tools.text.books, tools.config.books)

    def token_fingerprint(self, row: SurveyRow, config: TokenizeConfig) -> Any:
        """See ItemKind."""
        return _ranges(row), config.books.fingerprint_fields

    def tokenize(self, path: Path, row: SurveyRow, tools: TokenizeTools) -> list[TokenizedDocument]:
        """See ItemKind."""
        chunks = read_book(path, tools.config.books, cuts=_ranges(row), content_id=row.content_id)
        ids = np.concatenate(list(checked(tools.text.encode_stream(chunks), every=1)))
        return [TokenizedDocument(document=book_document(ids, vocabulary=tools.vocabulary))]

    def texts(self, path: Path, row: SurveyRow, options: TextOptions) -> Iterator[str]:
        """Yield the clean text, without the cuts where the book was surveyed."""
        return read_book(path, options.books, cuts=_ranges(row), content_id=row.content_id)


def _ranges(row: SurveyRow) -> list[tuple[int, int]]:
    return [cut.range for cut in row.cuts]


BOOK = _Book()
