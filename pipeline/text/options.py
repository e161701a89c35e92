"""How the texts of books and question-answer files are read, by every job that reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.text.books import BookConfig
from pipeline.text.qa import QaConfig


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The settings that survey, tokenize and the training of a text tokenizer share."""

    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
