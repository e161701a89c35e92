"""The encoding of a text: a byte order mark, else UTF-8, else what charset-normalizer finds.

Encodings of one byte a character can often not be told apart by a short text: cp1252 and cp1250 spell French alike.
Of those that explain a text about as well as the best one, the commonest is taken. Cost: 64 KiB of the lines that
are not ASCII are looked at, 10 to 150 ms; UTF-8 costs one decoding.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from schemas.errors import InputError, Reason

# UTF-32's little-endian mark begins with UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COMMON = ("cp1252", "cp1251", "cp1250", "iso8859_2", "cp932", "gb18030", "big5", "koi8_r", "cp1253", "cp1254")
_SAMPLE_BYTES = 1 << 16
_CLOSE = 5.0  # points of charset-normalizer's "chaos" within which two encodings explain a text equally well
_MAX_CHAOS = 10.0


class Decoded(NamedTuple):
    """A text and the encoding it was in."""

    text: str
    encoding: str


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """Return the text of `data` as it stands, without a mark; `declared` is what the document says of itself.

    Raises InputError NOT_TEXT for a NUL, for damaged text in a Unicode encoding, with the byte, and where no encoding
    makes sense of the bytes.
    """
    mark, unicode = _marked(data)
    try:
        text = data[len(mark) :].decode(unicode)
        return Decoded(_without_nul(text, unicode, len(mark)), unicode)
    except UnicodeDecodeError as e:
        if mark or _is_mostly_utf8(data):
            raise _wrong_byte(len(mark) + e.start, unicode) from e
    if (nul := data.find(b"\0")) >= 0:
        raise InputError(Reason.NOT_TEXT, _nul_at(nul))
    return _guess(data, declared)


def read_utf8(path: Path, *, max_bytes: int, chunk_chars: int = 1 << 20) -> Iterator[str]:
    """Yield the text of a file in chunks of at most `chunk_chars` (2 or more) characters, never cut within one.

    UTF-8, or UTF-16 and UTF-32 where a byte order mark says so. Line ends become "\\n". One block is in memory. Raises
    InputError: MISSING or UNREADABLE; TOO_LARGE past `max_bytes`, before anything is read; NOT_TEXT for bytes that are
    no text in the file's encoding, or a NUL, with the offset; EMPTY where there is nothing but white space.
    NOT_TEXT and EMPTY can come after chunks were yielded.
    """
    require_size(path, max_bytes)
    try:
        with path.open("rb") as stream:
            yield from _stream(stream, chunk_chars)
    except OSError as e:
        raise InputError(Reason.UNREADABLE, f"{path} cannot be read: {e.strerror or e}") from e


def require_size(path: Path, max_bytes: int) -> int:
    """Return the file's size; raises InputError MISSING, UNREADABLE for what is no file, TOO_LARGE past the limit."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as e:
        raise InputError(Reason.MISSING, f"no file at {path}") from e
    except OSError as e:
        raise InputError(Reason.UNREADABLE, f"{path} cannot be read: {e.strerror or e}") from e
    if not path.is_file():
        raise InputError(Reason.UNREADABLE, f"{path} is a folder or device, not a file")
    if size > max_bytes:
        raise InputError(
            Reason.TOO_LARGE,
            f"the text has {size:,} bytes, the limit is {max_bytes:,}: raise max_bytes of the books, or cut the file",
        )
    return size


def require_letters(text: str, size: int) -> None:
    """Raise InputError EMPTY for a text of white space alone."""
    if not text.strip():
        raise InputError(Reason.EMPTY, f"{size} bytes without a letter: there is nothing to read")


def one_line_end(text: str) -> str:
    """Return `text` with every line end as "\\n"."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guess(data: bytes, declared: str | None) -> Decoded:
    import charset_normalizer  # 30 ms that most books do not need

    if declared and (text := _try(data, declared)) is not None:
        return Decoded(text, codecs.lookup(declared).name)
    matches = list(charset_normalizer.from_bytes(_sample(data)))
    close = [m for m in matches if m.percent_chaos <= min(_MAX_CHAOS, matches[0].percent_chaos + _CLOSE)]
    likely = [name for match in close for name in match.could_be_from_charset]
    for name in sorted(likely, key=lambda n: _COMMON.index(n) if n in _COMMON else len(_COMMON)):
        if (text := _try(data, name)) is not None:
            return Decoded(text, codecs.lookup(name).name)
    raise InputError(
        Reason.NOT_TEXT,
        "the bytes are not UTF-8, and no other encoding makes text of them: this is a binary file, or one that has to "
        "be converted to UTF-8 first",
    )


def _try(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError, ValueError):
        return None
    return text if isinstance(text, str) and "\0" not in text else None


def _sample(data: bytes) -> bytes:
    """Return the first lines with something besides ASCII in them."""
    lines, size = [], 0
    for line in io.BytesIO(data):
        if not line.isascii():
            lines.append(line[:_SAMPLE_BYTES])
            size += len(lines[-1])
            if size >= _SAMPLE_BYTES:
                break
    return b"".join(lines)


def _is_mostly_utf8(data: bytes) -> bool:
    """Tell UTF-8 with a few damaged bytes, of which another encoding would make nonsense throughout."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    other = len(text) - len(text.encode("ascii", errors="ignore")) - broken
    return other > 10 * broken


def _marked(data: bytes) -> tuple[bytes, str]:
    return next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))


def _wrong_byte(at: int, encoding: str) -> InputError:
    return InputError(Reason.NOT_TEXT, f"byte {at:,} is not {encoding.upper()}: convert the file to UTF-8")


def _nul_at(at: int) -> str:
    return f"a NUL at byte {at:,}: this is a binary file, or UTF-16 without its mark, not a text"


def _without_nul(text: str, encoding: str, start: int) -> str:
    if (nul := text.find("\0")) >= 0:
        raise InputError(Reason.NOT_TEXT, _nul_at(start + len(text[:nul].encode(encoding))))
    return text


def _stream(stream: BinaryIO, chunk_chars: int) -> Iterator[str]:
    mark, encoding = _marked(stream.read(4))
    stream.seek(len(mark))
    decoder = codecs.getincrementaldecoder(encoding)()
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    read, is_blank, block = len(mark), True, b"?"
    while block:
        block = stream.read(chunk_chars - 1)  # a "\\r" held back from the block before may be added
        start = read - len(decoder.getstate()[0])  # of what the decoder is about to see: it holds back bytes too
        try:
            text = _without_nul(decoder.decode(block, final=not block), encoding, start)
        except UnicodeDecodeError as e:
            raise _wrong_byte(start + e.start, encoding) from e
        chunk: str = line_ends.decode(text, final=not block)  # takes text, gives text
        read += len(block)
        is_blank = is_blank and not chunk.strip()
        if chunk:
            yield chunk
    if is_blank:
        raise InputError(Reason.EMPTY, f"{read} bytes without a letter: there is nothing to read")
