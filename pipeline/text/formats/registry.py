"""The file formats of books, and the choice of one for a file.

To add a format, write a module in this folder with a reader, and add it to `FORMATS`.

A file that starts with a format's signature has that format, whatever its name; otherwise its suffix decides, and a
file with any other suffix is plain text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.text.encoding import require_letters, require_size
from pipeline.text.formats.epub import read_epub
from pipeline.text.formats.html import read_html
from pipeline.text.formats.plain_text import read_plain_text
from pipeline.text.formats.source_text import SourceText, read_bytes


@dataclass(frozen=True)
class BookFormat:
    """One format. `read` takes a path and the maximum number of bytes, packed and unpacked, and raises InputError."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, int], SourceText]
    signature: bytes = b""  # first bytes of every file of this format, if they identify it


PLAIN_TEXT = BookFormat("text", (".txt", ".text", ".md"), read_plain_text)
FORMATS = (
    PLAIN_TEXT,
    BookFormat("html", (".html", ".htm", ".xhtml"), read_html),
    BookFormat("epub", (".epub",), read_epub, signature=b"PK\x03\x04"),
)


def read_source(path: Path, max_bytes: int, *, formats: tuple[BookFormat, ...] = FORMATS) -> SourceText:
    """Return the text of a book's file.

    Raises InputError: MISSING; UNREADABLE (damaged, encrypted); TOO_LARGE beyond `max_bytes`, packed or unpacked, or
    for a zip bomb; NOT_TEXT and EMPTY as pipeline.text.encoding does.
    """
    size = require_size(path, max_bytes)
    source = _choose(path, formats).read(path, max_bytes)
    require_letters(source.text, size)
    return source


def _choose(path: Path, formats: tuple[BookFormat, ...]) -> BookFormat:
    head = read_bytes(path, max(len(known.signature) for known in formats))
    for known in formats:
        if known.signature and head.startswith(known.signature):
            return known
    suffix = path.suffix.lower()
    for known in formats:
        if suffix in known.suffixes:
            return known  # a signature may follow other bytes, which the reader decides
    return PLAIN_TEXT
