"""Books: a text file as chunks of text, in bounded memory.

UTF-8, or UTF-16 and UTF-32 where a byte order mark says so. Line ends become "\\n" (`\\r\\n` and a lone `\\r`); nothing
else is changed. Cost: one block of bytes and its text in memory; 1 GB/s.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from schemas.errors import ConfigError, InputError, Reason

# UTF-32's little-endian mark begins with UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, kw_only=True)
class BookConfig:
    """How books are read."""

    max_bytes: int = 512 << 20
    """Larger files are set aside."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, got {self.max_bytes}")


def read_book(path: Path, config: BookConfig, *, chunk_chars: int = 1 << 20) -> Iterator[str]:
    """Yield the text of a file in chunks of at most `chunk_chars` (2 or more) characters, never cut within one.

    Raises InputError: MISSING or UNREADABLE; TOO_LARGE past `max_bytes`, before anything is read; NOT_TEXT for bytes
    that are no text in the file's encoding, or a NUL, with the offset; EMPTY where there is nothing but white
    space. NOT_TEXT and EMPTY can come after chunks were yielded: what was yielded is then not a book.
    """
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            if size > config.max_bytes:
                raise InputError(
                    Reason.TOO_LARGE,
                    f"the text has {size:,} bytes, the limit is {config.max_bytes:,}: raise max_bytes of the books, "
                    "or cut the file",
                )
            yield from _decode(stream, chunk_chars)
    except FileNotFoundError as e:
        raise InputError(Reason.MISSING, f"no file at {path}") from e
    except OSError as e:
        raise InputError(Reason.UNREADABLE, f"{path} cannot be read: {e.strerror or e}") from e


def _decode(stream: BinaryIO, chunk_chars: int) -> Iterator[str]:
    mark, encoding = _encoding(stream)
    decoder = codecs.getincrementaldecoder(encoding)()
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    read, is_blank, block = len(mark), True, b"?"
    while block:
        block = stream.read(chunk_chars - 1)  # a "\\r" held back from the block before may be added
        start = read - len(decoder.getstate()[0])  # of what the decoder is about to see: it holds back bytes too
        text = _text(decoder, block, encoding=encoding, start=start)
        chunk: str = line_ends.decode(text, final=not block)  # takes text, gives text
        read += len(block)
        is_blank = is_blank and not chunk.strip()
        if chunk:
            yield chunk
    if is_blank:
        raise InputError(Reason.EMPTY, f"{read} bytes without a letter: there is nothing to read")


def _encoding(stream: BinaryIO) -> tuple[bytes, str]:
    head = stream.read(4)
    mark, encoding = next((m for m in _MARKS if head.startswith(m[0])), (b"", "utf-8"))
    stream.seek(len(mark))
    return mark, encoding


def _text(decoder: codecs.IncrementalDecoder, block: bytes, *, encoding: str, start: int) -> str:
    try:
        text = decoder.decode(block, final=not block)
    except UnicodeDecodeError as e:
        raise InputError(
            Reason.NOT_TEXT, f"byte {start + e.start:,} is not {encoding.upper()}: convert the file to UTF-8"
        ) from e
    if (nul := text.find("\0")) >= 0:
        at = start + len(text[:nul].encode(encoding))
        raise InputError(Reason.NOT_TEXT, f"a NUL at byte {at:,}: this is a binary file, not a text")
    return text
