"""Reads and writes the tar members of a shard.

Members are written byte by byte rather than with `tarfile`, whose headers have changed between Python versions: the
bytes of a shard depend on its content alone. Every member is a USTAR regular file (POSIX.1-1988) with mode 0444,
modification time 0, and owner 0 without a name. The archive ends in zeros up to a multiple of 10,240 bytes, as POSIX
requires.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

BLOCK = 512  # bytes: the unit of a tar archive
_RECORD = 10240  # bytes: an archive's size is a multiple of this
_MAX_MEMBER_BYTES = 1 << 33  # what 11 octal digits hold
_MODE_AND_OWNER = b"0000444\0" + 2 * b"0000000\0"
_TIME = b"00000000000\0"
_TYPE_AND_MAGIC = b"0".ljust(101, b"\0") + b"ustar\00000".ljust(255, b"\0")
_BLANK_CHECKSUM = 8 * ord(" ")  # the checksum is computed as if its field were blank
_SUM_AFTER_TIME = _BLANK_CHECKSUM + sum(_TYPE_AND_MAGIC)


def member_header(name: str, size: int) -> bytes:
    """Return the 512-byte header of a member of `size` bytes.

    Raises ValueError if `name` is not ASCII of at most 100 characters, or `size` is not below 8 GiB.
    """
    raw = name.encode("ascii")
    if len(raw) > 100 or not 0 <= size < _MAX_MEMBER_BYTES:
        raise ValueError(
            f"{name!r} of {size} bytes cannot be a USTAR member: names have at most 100 bytes, members less than 8 GiB"
        )
    before = raw.ljust(100, b"\0") + _MODE_AND_OWNER + b"%011o\0" % size + _TIME
    checksum = _sum(before) + _SUM_AFTER_TIME
    return b"%b%06o\0 %b" % (before, checksum, _TYPE_AND_MAGIC)


def parse_header(block: bytes) -> tuple[str, int]:
    """Return the name and size in bytes from a USTAR header of 512 bytes; raises ValueError for any other block.

    `tarfile` takes several times as long, which is noticeable for a sequence of 4K tokens.
    """
    if len(block) != BLOCK or block[257:262] != b"ustar":
        raise ValueError("no USTAR header")
    checksum = _sum(block) - _sum(block[148:156]) + _BLANK_CHECKSUM
    if checksum != _octal(block[148:156]):
        raise ValueError("bad checksum")
    return block[:100].rstrip(b"\0").decode(), _octal(block[124:136])


def member(name: str, data: bytes) -> bytes:
    """Return a member: header, data, and zeros up to the next block."""
    return b"".join(member_parts(name, data))


def member_parts(name: str, *data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Yield the parts of a member whose content is the concatenated `data`; memoryviews are of bytes."""
    size = sum(map(len, data))
    yield member_header(name, size)
    yield from data
    yield bytes(-size % BLOCK)


def padded_size(size: int) -> int:
    """Return the bytes that a member's data of `size` bytes occupies, padding included."""
    return size + -size % BLOCK


def end_of_archive(position: int) -> bytes:
    """Return the zeros that end an archive after `position` bytes: at least two blocks, up to the end of a record."""
    return bytes(2 * BLOCK + -(position + 2 * BLOCK) % _RECORD)


def _sum(data: bytes) -> int:
    """Return the sum of at most 512 bytes.

    The lower half of Adler-32 is 1 + the sum modulo 65,521, which the sum of so few ASCII bytes does not reach.
    """
    return (zlib.adler32(data) & 0xFFFF) - 1 if data.isascii() else sum(data)


def _octal(field: bytes) -> int:
    digits = field.strip(b"\0 ")
    if not digits.isdigit():  # int() accepts signs and underscores too
        raise ValueError(f"{field!r} is not an octal number")
    return int(digits, 8)
