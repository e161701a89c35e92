"""The bytes of a shard: tar members with normalized headers, and .npy files.

Written here byte by byte rather than by `tarfile` and `numpy.save`, whose headers have changed between versions: a
shard's bytes then depend on its content alone. Both read what is written. Members are USTAR regular files, mode 0444,
time 0, owner 0 without a name; the archive ends in zeros up to a multiple of 10,240 bytes, as POSIX has it.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK, RECORD = 512, 10240
_SIZE_LIMIT = 1 << 33  # of a member: what 11 octal digits hold
_NPY_ALIGN = 64


def member_header(name: str, size: int) -> bytes:
    """Return the 512 bytes before a member of `size` bytes; `name` is ASCII of at most 100 characters."""
    raw = name.encode("ascii")
    if len(raw) > 100 or not 0 <= size < _SIZE_LIMIT:
        raise ValueError(f"no USTAR member {name!r} of {size} bytes: the name has 100 bytes at most, the file 8 GiB")
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


def member(name: str, data: bytes) -> bytes:
    """Return a member: header, data, and zeros up to the next block."""
    return member_header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def ending(position: int) -> bytes:
    """Return what ends an archive whose members end at `position`: two blocks of zeros or more, up to a record."""
    return bytes(2 * BLOCK + -(position + 2 * BLOCK) % RECORD)


@functools.lru_cache(maxsize=4096)  # NumPy takes 10 microseconds to describe a structured type
def npy_header(dtype: np.dtype[Any], length: int) -> bytes:
    """Return the header (version 1.0) of an .npy file of `length` values."""
    descr = np.lib.format.dtype_to_descr(dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': ({length},), }}"
    text += " " * (-(10 + len(text) + 1) % _NPY_ALIGN) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("ascii")


def npy(values: NDArray[Any]) -> bytes:
    """Return the .npy file of `values` [n], which are little-endian and contiguous."""
    return npy_header(values.dtype, len(values)) + values.tobytes()
