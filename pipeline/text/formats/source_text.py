"""The text of a book's file before cleaning, and the bytes that it is read from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from schemas.errors import InputError, Reason
from schemas.storage.regular import open_regular


class SourceText(NamedTuple):
    """The text of a file, with "\\n" as its line ending, and the type and encoding of the file."""

    text: str
    container: str  # name of the format
    encoding: str
    counts: Mapping[str, float] = MappingProxyType({})  # measures of the reading


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file, at most `max_bytes`. Raises InputError UNREADABLE."""
    try:
        with open_regular(path) as stream:
            return stream.read(max_bytes)
    except OSError as e:
        raise InputError(Reason.UNREADABLE, f"{path} cannot be read: {e.strerror or e}") from e
