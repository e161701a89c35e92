"""Reads and writes the tar members of a shard.

Members are written byte by byte rather than with `tarfile`, whose headers have changed between Python versions: the
bytes of a shard depend on its content alone. Every member is a USTAR regular file (POSIX.1-1988) with mode 0444,
modification time 0, and owner 0 without a name. The archive ends in zeros up to a multiple of 10,240 bytes, as POSIX
requires.
"""

from __future__ import annotations

import struct

BLOCK = 512  # bytes: the unit of a tar archive
_RECORD = 10240  # bytes: an archive's size is a multiple of this
_MAX_MEMBER_BYTES = 1 << 33  # what 11 octal digits hold


def member_header(name: str, size: int) -> bytes:
    """Return the 512-byte header of a member of `size` bytes.

    Raises ValueError if `name` is not ASCII of at most 100 characters, or `size` is not below 8 GiB.
    """
    raw = name.encode("ascii")
    if len(raw) > 100 or not 0 <= size < _MAX_MEMBER_BYTES:
        raise ValueError(
            f"{name!r} of {size} bytes cannot be a USTAR member: names have at most 100 bytes, members less than 8 GiB"
        )
    owner = b"0000000\0"
    fields = (
        raw,
        b"0000444\0",
        owner,
        owner,
        b"%011o\0" % size,
        b"00000000000\0",
        b" " * 8,
        b"0",
        b"",
        b"ustar\0",
        b"00",
    )
    header = struct.pack("100s8s8s8s12s12s8s1s100s6s2s247x", *fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def parse_header(block: bytes) -> tuple[str, int]:
    """Return the name and size in bytes from a USTAR header of 512 bytes; raises ValueError for any other block.

    `tarfile` takes several times as long, which is noticeable for a sequence of 4K tokens.
    """
    if len(block) != BLOCK or block[257:262] != b"ustar":
        raise ValueError("no USTAR header")
    checksum = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    if checksum != _octal(block[148:156]):
        raise ValueError("bad checksum")
    return block[:100].rstrip(b"\0").decode(), _octal(block[124:136])


def member(name: str, data: bytes) -> bytes:
    """Return a member: header, data, and zeros up to the next block."""
    return member_header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def padded_size(size: int) -> int:
    """Return the bytes that a member's data of `size` bytes occupies, padding included."""
    return size + -size % BLOCK


def end_of_archive(position: int) -> bytes:
    """Return the zeros that end an archive after `position` bytes: at least two blocks, up to the end of a record."""
    return bytes(2 * BLOCK + -(position + 2 * BLOCK) % _RECORD)


def _octal(field: bytes) -> int:
    digits = field.strip(b"\0 ")
    if not digits.isdigit():  # int() accepts signs and underscores too
        raise ValueError(f"{field!r} is not an octal number")
    return int(digits, 8)
