"""Books: a file as clean text, the same for the survey, the tokens and the training of a text tokenizer.

    file ── formats ──► text ── clean ──► clean text ── cuts ──► chunks

Positions in a book (cuts, what near-duplicates share) are characters of the clean text, before cuts. Cost: a whole
book is in memory, as several copies: 10 times its bytes while it is cleaned, 25 times while it is surveyed, which
`max_bytes` bounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.text.formats import read_source
from pipeline.text.personal_data import mask_personal_data
from schemas.errors import ConfigError, InputError, Reason

_VERSION = 1  # counts up when the same bytes would give another clean text


@dataclass(frozen=True, kw_only=True)
class BookConfig:
    """How books are read and cleaned."""

    max_bytes: int = 64 << 20
    """Larger files are set aside, and archives that unpack to more."""
    repair_text: bool = True
    """Mend text that was decoded wrongly, control characters and white space (ftfy)."""
    strip_boilerplate: bool = True
    """Take out what Project Gutenberg and others put before and after a book."""
    strip_running_headers: bool = True
    """Take out page numbers and running heads of scanned books."""
    join_hyphens: bool = True
    """Put words together that a line end cuts in two."""
    join_lines: bool = True
    """Make one line of each paragraph where prose is hard-wrapped; verse and lists stay."""
    mask_pii: bool = False
    """Replace e-mail addresses, telephone, card and account numbers and public internet addresses by [email] and the
    like."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, got {self.max_bytes}")

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of cleaning that are on."""
        return tuple(
            name
            for name in ("repair_text", "strip_boilerplate", "strip_running_headers", "join_hyphens", "join_lines")
            if getattr(self, name)
        )

    @property
    def fingerprint_fields(self) -> tuple[Any, ...]:
        """What the clean text depends on beside the file."""
        return _VERSION, self.steps, self.mask_pii


class Book(NamedTuple):
    """A book's clean text, and how it came about."""

    text: str
    container: str
    encoding: str
    counts: Mapping[str, float]  # of each step of cleaning, see pipeline.text.clean

    @property
    def content_id(self) -> str:
        """SHA-256 of the clean text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_book(path: Path, config: BookConfig) -> Book:
    """Return the whole clean text of a .txt, .md, .html or .epub file.

    Raises InputError as pipeline.text.formats does, and EMPTY where cleaning leaves nothing.
    """
    source = read_source(path, config.max_bytes)
    text, counts = source.text, dict[str, float]()
    if config.steps:
        from pipeline.text.clean import clean  # ftfy: loaded when the first book comes

        text, counts = clean(text, config.steps)
    if config.mask_pii:
        text, found = mask_personal_data(text)
        counts |= found
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise InputError(Reason.NOT_TEXT, "the text holds half a surrogate pair, which no UTF-8 can") from e
    if not text.strip():
        raise InputError(Reason.EMPTY, "nothing is left of the text when it is cleaned")
    return Book(text, source.container, source.encoding, counts)


def read_book(
    path: Path,
    config: BookConfig,
    *,
    cuts: Iterable[Mapping[str, Any]] = (),
    content_id: str | None = None,
    chunk_chars: int = 1 << 20,
) -> Iterator[str]:
    """Yield the clean text in chunks of at most `chunk_chars` characters, without the ranges {start, end} of `cuts`.

    Raises InputError as `load_book` does, before anything is yielded; CHANGED where `content_id` is given and is not
    this text's, as cuts would lie elsewhere; EMPTY where the cuts leave nothing.
    """
    book = load_book(path, config)
    if content_id is not None and book.content_id != content_id:
        raise InputError(
            Reason.CHANGED, "the clean text is not the one that was surveyed: survey with the same --books options"
        )
    text = book.text
    is_blank = True
    for start, end in kept_ranges(len(text), cuts):
        for at in range(start, end, chunk_chars):
            chunk = text[at : min(at + chunk_chars, end)]
            is_blank = is_blank and not chunk.strip()
            yield chunk
    if is_blank:
        raise InputError(Reason.EMPTY, "the cuts leave nothing of the text")


def kept_ranges(length: int, cuts: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a text of `length` characters that no cut covers, in order; cuts may overlap."""
    at = 0
    for cut in sorted(cuts, key=lambda c: int(c["start"])):
        start, end = min(int(cut["start"]), length), min(int(cut["end"]), length)
        if start > at:
            yield at, start
        at = max(at, end)
    if at < length:
        yield at, length
