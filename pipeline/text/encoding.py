"""Decodes text files: by byte order mark, otherwise as UTF-8, otherwise in an encoding that is detected and plausible.

A file that is UTF-8 in all but a few bytes is mended (pipeline.text.utf8_repair) or rejected; a legacy encoding is
detected only for other files (pipeline.text.legacy_encodings). NULs at the end are padding and are dropped. Cost: UTF-8
is decoded once, detection takes 20 ms; benchmarks/text_encodings.py measures how often each encoding is recognized.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import NamedTuple

from pipeline.text.legacy_encodings import decode_declared, decode_escaped, decode_legacy
from pipeline.text.utf8_repair import mend_utf8
from pipeline.text.wide_unicode import decode_unmarked, decode_wide
from schemas.errors import InputError, Reason
from schemas.storage.regular import open_regular

# The little-endian mark of UTF-32 starts with that of UTF-16, so it is tested first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Decoded(NamedTuple):
    """A text and its encoding, and what was done to its bytes."""

    text: str
    encoding: str
    mended_bytes: int = 0  # that were not valid in the encoding
    padding_bytes: int = 0  # NULs at the end that were dropped

    @property
    def counts(self) -> dict[str, float]:
        """The measures of a text whose bytes were changed, none for a valid one."""
        counts = {"mended_bytes": float(self.mended_bytes), "padding_bytes": float(self.padding_bytes)}
        return {name: count for name, count in counts.items() if count}


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """Return the text of `data` without its byte order mark. `declared` is the encoding that the document declares.

    Raises InputError NOT_TEXT for a NUL within the text, for bytes of UTF-8 that cannot be mended (with their
    position), and if no encoding is plausible.
    """
    if (found := _decode_unicode(data, is_other_declared=_is_other(declared))) is not None:
        return found
    text = data.rstrip(b"\0")
    detected = (declared and decode_declared(text, declared)) or decode_legacy(text)
    if not detected:
        raise InputError(
            Reason.NOT_TEXT,
            "the file is neither UTF-8 nor plausible in another known encoding; it is binary or damaged, or must be "
            "converted to UTF-8 first",
        )
    return Decoded(*detected, padding_bytes=len(data) - len(text))


def decode_unicode(data: bytes) -> Decoded:
    """Return the text of `data`, which must be in a Unicode encoding. Raises InputError NOT_TEXT as `decode` does."""
    found = _decode_unicode(data, is_other_declared=False)
    if found is None:
        raise InputError(
            Reason.NOT_TEXT, f"byte {_first_invalid(data):,} is not valid UTF-8; convert the file to UTF-8"
        )
    return found


def read_unicode(path: Path, *, max_bytes: int) -> Decoded:
    """Return the text of a file in a Unicode encoding, with "\\n" as its line ending.

    Raises InputError: MISSING or UNREADABLE; TOO_LARGE beyond `max_bytes`, before anything is read; NOT_TEXT as
    `decode_unicode`; EMPTY for white space only.
    """
    size = require_size(path, max_bytes)
    try:
        with open_regular(path) as stream:
            data = stream.read()
    except OSError as e:
        raise InputError(Reason.UNREADABLE, f"{path} cannot be read: {e.strerror or e}") from e
    found = decode_unicode(data)
    require_letters(found.text, size)
    return found._replace(text=normalize_line_endings(found.text))


def require_size(path: Path, max_bytes: int) -> int:
    """Return the size of a file.

    Raises InputError: MISSING, UNREADABLE if it is not a file, TOO_LARGE beyond `max_bytes`.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as e:
        raise InputError(Reason.MISSING, f"no file at {path}") from e
    except OSError as e:
        raise InputError(Reason.UNREADABLE, f"{path} cannot be read: {e.strerror or e}") from e
    if not path.is_file():
        raise InputError(Reason.UNREADABLE, f"{path} is a folder or device, expected a file")
    if size > max_bytes:
        raise InputError(
            Reason.TOO_LARGE,
            f"the file has {size:,} bytes, the limit is {max_bytes:,}; raise books.max-bytes or split the file",
        )
    return size


def require_letters(text: str, size: int) -> None:
    """Raise InputError EMPTY for a text of white space only; `size` is that of its file in bytes."""
    if not text.strip():
        raise InputError(Reason.EMPTY, f"the file contains only white space ({size} bytes)")


def normalize_line_endings(text: str) -> str:
    """Return `text` with every line ending as "\\n"."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def byte_order_mark(data: bytes) -> tuple[bytes, str]:
    """Return the byte order mark at the start of a file and its encoding; without one, nothing and "utf-8"."""
    return next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))


def _is_other(declared: str | None) -> bool:
    return declared is not None and codecs.lookup(declared).name != "utf-8"


def _decode_unicode(data: bytes, *, is_other_declared: bool) -> Decoded | None:
    """Return the text of data in a Unicode encoding, None for data in another one."""
    mark, encoding = byte_order_mark(data)
    if encoding != "utf-8":
        return Decoded(*decode_wide(data, encoding, start=len(mark)))
    text = data[len(mark) :].rstrip(b"\0")
    padding = len(data) - len(mark) - len(text)
    if (nul := text.find(b"\0")) >= 0:
        if not mark and (wide := decode_unmarked(data)):
            return Decoded(*wide)
        raise InputError(Reason.NOT_TEXT, f"NUL at byte {len(mark) + nul:,}: the file is binary or damaged")
    if escaped := decode_escaped(text):
        return Decoded(*escaped, padding_bytes=padding)
    try:
        return Decoded(text.decode(), encoding, padding_bytes=padding)
    except UnicodeDecodeError as e:
        mended = mend_utf8(text, is_other_declared=is_other_declared and not mark)
        if mended is None and mark:
            raise InputError(Reason.NOT_TEXT, f"byte {len(mark) + e.start:,} is not valid UTF-8") from e
    return mended and Decoded(mended.text, encoding, mended.mended, padding)


def _first_invalid(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as e:
        return e.start
    return 0
