"""Reads books as clean text, for the survey, tokenization and the training of a text tokenizer.

    file ── formats ──► text ── cleaning ──► clean text ── cuts ──► chunks

Positions in a book (cuts, passages shared by near-duplicates) are character offsets in the clean text, before cuts.
Cost: the whole book in memory, in several copies: 10 times its bytes while it is cleaned, 25 times while it is
surveyed; `max_bytes` limits it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.text.cleaning.steps import STEPS, clean
from pipeline.text.formats.registry import read_source
from pipeline.text.memory import most_words
from pipeline.text.personal_data import mask_personal_data
from schemas.errors import ConfigError, InputError, Reason

_VERSION = 3  # increment when the same file gives another clean text

TextRange = tuple[int, int]
"""A range [start, end) of characters."""


@dataclass(frozen=True, kw_only=True)
class BookConfig:
    """How books are read and cleaned."""

    max_bytes: int = 64 << 20
    """Maximum size of a file, and of what an EPUB unpacks to. Larger books are rejected."""
    max_memory_mb: int = 2048
    """Maximum memory that a book may take, in MiB, estimated from its characters, lines and words: prose takes 12 times
    its bytes, very short words or lines up to 60 times. Larger books are rejected (`memory`)."""
    time_limit_s: float = 1800.0
    """Time limit per book in seconds, for the survey and for tokenization."""
    repair_text: bool = True
    """Repair wrongly decoded text, control characters and white space (ftfy)."""
    strip_boilerplate: bool = True
    """Remove the boilerplate of Project Gutenberg and others before and after a book."""
    strip_running_headers: bool = True
    """Remove page numbers and running headers and footers of scanned books."""
    join_hyphens: bool = True
    """Join words that are hyphenated at a line end."""
    join_lines: bool = True
    """Join the lines of hard-wrapped paragraphs; verse, lists and tables keep their lines."""
    mask_pii: bool = False
    """Replace e-mail and IP addresses, telephone, card and bank account numbers by placeholders such as [email]."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, got {self.max_bytes}")
        if self.max_memory_mb < 1:
            raise ConfigError(f"max_memory_mb must be at least 1, got {self.max_memory_mb}")
        if not self.time_limit_s > 0:
            raise ConfigError(f"time_limit_s must be above 0, got {self.time_limit_s}")

    @property
    def max_memory(self) -> int:
        """The limit of memory in bytes."""
        return self.max_memory_mb << 20

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the enabled cleaning steps, in order."""
        return tuple(step.name for step in STEPS if getattr(self, step.name))

    @property
    def fingerprint_fields(self) -> tuple[object, ...]:
        """The settings that the clean text depends on."""
        return _VERSION, self.steps, self.mask_pii


class Book(NamedTuple):
    """The clean text of a book, with the format and encoding of its file."""

    text: str
    container: str
    encoding: str
    counts: Mapping[str, float]  # the measure of each cleaning step, see pipeline.text.cleaning.steps

    @property
    def content_id(self) -> str:
        """SHA-256 of the clean text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_book(path: Path, config: BookConfig) -> Book:
    """Return the clean text of a book in any format of pipeline.text.formats.registry.

    Raises InputError as `read_source` does, MEMORY, and EMPTY if nothing is left after cleaning.
    """
    source = read_source(path, config.max_bytes)
    most_words(source.text, config.max_memory)
    text, counts = clean(source.text, config.steps)
    counts |= source.counts
    if config.mask_pii:
        text, found = mask_personal_data(text)
        counts |= found
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise InputError(
            Reason.NOT_TEXT, "the text contains an unpaired surrogate, which cannot be encoded as UTF-8"
        ) from e
    if not text.strip():
        raise InputError(Reason.EMPTY, "no text is left after cleaning")
    return Book(text, source.container, source.encoding, counts)


def read_book(
    path: Path,
    config: BookConfig,
    *,
    cuts: Iterable[TextRange] = (),
    content_id: str | None = None,
    chunk_chars: int = 1 << 20,
) -> Iterator[str]:
    """Yield the clean text without the ranges `cuts`, in chunks of at most `chunk_chars` characters.

    Raises InputError as `load_book` does, before anything is yielded; CHANGED if `content_id` is given and differs
    from this text's, because the cuts would be at wrong positions; EMPTY if nothing is left after the cuts.
    """
    book = load_book(path, config)
    if content_id is not None and book.content_id != content_id:
        raise InputError(
            Reason.CHANGED,
            "the clean text differs from the surveyed text; run the survey with the same --books options",
        )
    text = book.text
    is_blank = True
    for start, end in kept_ranges(len(text), cuts):
        for at in range(start, end, chunk_chars):
            chunk = text[at : min(at + chunk_chars, end)]
            is_blank = is_blank and not chunk.strip()
            yield chunk
    if is_blank:
        raise InputError(Reason.EMPTY, "no text is left after the cuts")


def kept_ranges(length: int, cuts: Iterable[TextRange]) -> Iterator[TextRange]:
    """Yield the ranges [start, end) of a text of `length` characters outside all cuts, in order. Cuts may overlap."""
    at = 0
    for first, last in sorted(cuts):
        start, end = min(first, length), min(last, length)
        if start > at:
            yield at, start
        at = max(at, end)
    if at < length:
        yield at, length
