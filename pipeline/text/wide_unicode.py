"""Decodes UTF-16 and UTF-32, with and without a byte order mark.

A lost byte shifts all bytes after it, and most of what results is valid: the text is therefore examined for characters
that no text has. A file that was cut within a character is decoded up to there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.text.plausibility import has_shifted_characters, impossible
from schemas.errors import InputError, Reason

_WIDTHS = {"utf-32-le": 4, "utf-32-be": 4, "utf-16-le": 2, "utf-16-be": 2}
_SPACES = re.compile("[ \n\u3000\u3001\u3002\uff0c]")
_CONTROLS = re.compile(b"[\x01-\x08\x0e-\x1f]")  # the second bytes of other scripts
_MAX_NOT_NUL = 0.6  # share of bytes in UTF-16 that is ASCII for the most part
_SAMPLE = 1 << 18  # characters
_MIN_SPACES = 0.005  # share of characters; with the wrong byte order there are next to none


class WideText(NamedTuple):
    """A text, its encoding, and the bytes at its end that were dropped."""

    text: str
    encoding: str
    mended_bytes: int  # of a character that was cut
    padding_bytes: int  # NULs


def decode_wide(data: bytes, encoding: str, *, start: int = 0) -> WideText:
    """Return the text of data in UTF-16 or UTF-32 without its byte order mark of `start` bytes.

    Raises InputError NOT_TEXT with the position of the first byte that is not text.
    """
    width, size = _WIDTHS[encoding], len(data) - start
    cut = size % width
    try:
        padded = data[start : len(data) - cut].decode(encoding)
    except UnicodeDecodeError as e:
        if e.end < size - cut:
            raise _invalid(start + e.start, f"is not valid {encoding.upper()}") from e
        padded, cut = data[start : start + e.start].decode(encoding), size - e.start
    text = padded.rstrip("\0")
    if cut and not text:
        raise _invalid(start, f"is not valid {encoding.upper()}")
    if wrong := impossible().search(text):
        at = start + len(text[: wrong.start()].encode(encoding))
        raise _invalid(at, f"is not {encoding.upper()} text; the file is binary, or a byte before is lost or was added")
    if has_shifted_characters(text):
        raise _invalid(start, f"starts {encoding.upper()} text in which a byte is lost or was added")
    return WideText(text, encoding, cut, (len(padded) - len(text)) * width)


def decode_unmarked(data: bytes) -> WideText | None:
    """Return the text of data in UTF-16 or UTF-32 without a byte order mark, None for other data."""
    if _has_stray_nuls(data):
        return None
    for encoding, width in _WIDTHS.items():
        if len(data) % width:  # a lost byte and the other byte order look alike
            continue
        try:
            found = decode_wide(data, encoding)
        except InputError:
            continue
        sample = found.text[:_SAMPLE]
        if sample and len(_SPACES.findall(sample)) >= _MIN_SPACES * len(sample):
            return found
    return None


def _has_stray_nuls(data: bytes) -> bool:
    """Whether data is UTF-8 but for some NULs."""
    rest = data.replace(b"\0", b"")
    if len(rest) <= _MAX_NOT_NUL * len(data) or _CONTROLS.search(rest):
        return False
    try:
        rest.decode()
    except UnicodeDecodeError:
        return False
    return True


def _invalid(at: int, what: str) -> InputError:
    return InputError(Reason.NOT_TEXT, f"byte {at:,} {what}")
