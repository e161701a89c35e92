"""Plain text and Markdown: the file's text, unchanged except for line endings."""

from __future__ import annotations

from pathlib import Path

from pipeline.text.encoding import decode, normalize_line_endings
from pipeline.text.formats.source_text import SourceText, read_bytes


def read_plain_text(path: Path, max_bytes: int) -> SourceText:
    """Return the text of a file. Raises InputError UNREADABLE or NOT_TEXT."""
    decoded = decode(read_bytes(path, max_bytes + 1))
    return SourceText(normalize_line_endings(decoded.text), "text", decoded.encoding, decoded.counts)
