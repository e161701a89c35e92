"""Decodes text files: by byte order mark, otherwise as UTF-8, otherwise in the encoding detected by charset-normalizer.

A short text in a single-byte encoding is often ambiguous: cp1252 and cp1250 encode French identically. Of the encodings
that fit about as well as the best one, the most common is used. Cost: detection examines 64 KiB of the non-ASCII lines,
10 to 150 ms; UTF-8 is decoded once.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from schemas.errors import InputError, Reason

# The little-endian mark of UTF-32 starts with that of UTF-16, so it is tested first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COMMON = ("cp1252", "cp1251", "cp1250", "iso8859_2", "cp932", "gb18030", "big5", "koi8_r", "cp1253", "cp1254")
_SAMPLE_BYTES = 1 << 16
_CHAOS_TOLERANCE = 5.0  # difference of charset-normalizer's "chaos" within which two encodings fit equally well
_MAX_CHAOS = 10.0


class Decoded(NamedTuple):
    """A text and its encoding."""

    text: str
    encoding: str


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """Return the text of `data` without its byte order mark. `declared` is the encoding that the document declares.

    Raises InputError NOT_TEXT for a NUL byte, for invalid bytes in a Unicode encoding (with their position), and if no
    encoding fits.
    """
    mark, unicode = byte_order_mark(data)
    try:
        text = data[len(mark) :].decode(unicode)
        return Decoded(_without_nul(text, unicode, len(mark)), unicode)
    except UnicodeDecodeError as e:
        if mark or _is_mostly_utf8(data):
            raise _invalid_byte(len(mark) + e.start, unicode) from e
    if (nul := data.find(b"\0")) >= 0:
        raise InputError(Reason.NOT_TEXT, _nul_message(nul))
    return _guess(data, declared)


def read_utf8(path: Path, *, max_bytes: int, chunk_chars: int = 1 << 20) -> Iterator[str]:
    """Yield the text of a file in chunks of at most `chunk_chars` (2 or more) characters.

    The file is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Line endings become "\\n". One block is in memory.
    Raises InputError: MISSING or UNREADABLE; TOO_LARGE beyond `max_bytes`, before anything is read; NOT_TEXT for
    invalid bytes or a NUL, with the offset; EMPTY for white space only. NOT_TEXT and EMPTY can follow some chunks.
    """
    require_size(path, max_bytes)
    try:
        with path.open("rb") as stream:
            yield from _stream(stream, chunk_chars)
    except OSError as e:
        raise InputError(Reason.UNREADABLE, f"{path} cannot be read: {e.strerror or e}") from e


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


def _guess(data: bytes, declared: str | None) -> Decoded:
    import charset_normalizer  # takes 30 ms to import; most books are UTF-8

    if declared and (text := _try(data, declared)) is not None:
        return Decoded(text, codecs.lookup(declared).name)
    matches = list(charset_normalizer.from_bytes(_sample(data)))
    close = [m for m in matches if m.percent_chaos <= min(_MAX_CHAOS, matches[0].percent_chaos + _CHAOS_TOLERANCE)]
    likely = [name for match in close for name in match.could_be_from_charset]
    for name in sorted(likely, key=lambda n: _COMMON.index(n) if n in _COMMON else len(_COMMON)):
        if (text := _try(data, name)) is not None:
            return Decoded(text, codecs.lookup(name).name)
    raise InputError(
        Reason.NOT_TEXT,
        "the file is neither UTF-8 nor in another known encoding; it is binary, or must be converted to UTF-8 first",
    )


def _try(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError, ValueError):
        return None
    return text if isinstance(text, str) and "\0" not in text else None


def _sample(data: bytes) -> bytes:
    """Return the first lines with non-ASCII characters."""
    lines, size = [], 0
    for line in io.BytesIO(data):
        if not line.isascii():
            lines.append(line[:_SAMPLE_BYTES])
            size += len(lines[-1])
            if size >= _SAMPLE_BYTES:
                break
    return b"".join(lines)


def _is_mostly_utf8(data: bytes) -> bool:
    """Whether the data is UTF-8 with a few damaged bytes, which no other encoding would decode sensibly."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    valid = len(text) - len(text.encode("ascii", errors="ignore")) - broken
    return valid > 10 * broken


def byte_order_mark(data: bytes) -> tuple[bytes, str]:
    """Return the byte order mark at the start of a file and its encoding; without one, nothing and "utf-8"."""
    return next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))


def _invalid_byte(at: int, encoding: str) -> InputError:
    return InputError(Reason.NOT_TEXT, f"byte {at:,} is not valid {encoding.upper()}; convert the file to UTF-8")


def _nul_message(at: int) -> str:
    return f"NUL at byte {at:,}: the file is binary, or UTF-16 without a byte order mark"


def _without_nul(text: str, encoding: str, start: int) -> str:
    if (nul := text.find("\0")) >= 0:
        raise InputError(Reason.NOT_TEXT, _nul_message(start + len(text[:nul].encode(encoding))))
    return text


def _stream(stream: BinaryIO, chunk_chars: int) -> Iterator[str]:
    mark, encoding = byte_order_mark(stream.read(4))
    stream.seek(len(mark))
    decoder = codecs.getincrementaldecoder(encoding)()
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    read, is_blank, block = len(mark), True, b"?"
    while block:
        block = stream.read(chunk_chars - 1)  # a "\\r" that was held back from the previous block may be added
        start = read - len(decoder.getstate()[0])  # the decoder also holds back bytes
        try:
            text = _without_nul(decoder.decode(block, final=not block), encoding, start)
        except UnicodeDecodeError as e:
            raise _invalid_byte(start + e.start, encoding) from e
        chunk: str = line_ends.decode(text, final=not block)  # accepts and returns str
        read += len(block)
        is_blank = is_blank and not chunk.strip()
        if chunk:
            yield chunk
    if is_blank:
        raise InputError(Reason.EMPTY, f"the file contains only white space ({read} bytes)")
