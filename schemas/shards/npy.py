"""Reads and writes `.npy` files of the only version that shards contain (1.0).

Headers are written here rather than with `numpy.save`, whose headers have changed between NumPy versions. Nothing is
unpickled.
"""

from __future__ import annotations

import functools
import io
import struct
import tokenize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.files import PARSING_A_HEADER

_MAGIC = b"\x93NUMPY\x01\x00"
_ALIGN = 64  # bytes


@functools.lru_cache(maxsize=4096)  # NumPy takes 10 microseconds to describe a structured type
def npy_header(dtype: np.dtype[Any], length: int) -> bytes:
    """Return the header of an `.npy` file with `length` values."""
    descr = np.lib.format.dtype_to_descr(dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': ({length},), }}"
    text += " " * (-(len(_MAGIC) + 2 + len(text) + 1) % _ALIGN) + "\n"
    return _MAGIC + struct.pack("<H", len(text)) + text.encode("ascii")


def npy(values: NDArray[Any]) -> bytes:
    """Return the `.npy` file of `values` [n], which are little-endian and contiguous."""
    return b"".join(npy_parts(values))


def npy_parts(values: NDArray[Any]) -> tuple[bytes, memoryview]:
    """Return the header and the data of the `.npy` file of `values` [n], without a copy."""
    return npy_header(values.dtype, len(values)), values.view(np.uint8).data


def parse_npy_header(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and header size in bytes of the `.npy` file that begins with `data`; raises ValueError."""
    end = len(_MAGIC) + 2 + int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + 2], "little")
    if not data.startswith(_MAGIC) or len(data) < end:
        raise ValueError("it has no .npy header")
    return *_parsed(data[:end]), end


@functools.lru_cache(maxsize=4096)
def _parsed(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Parse a header. All tokens of a dataset have the same one, and spans have few different ones."""
    stream = io.BytesIO(header)
    np.lib.format.read_magic(stream)
    try:
        with PARSING_A_HEADER:
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except (SyntaxError, tokenize.TokenError) as e:  # NumPy does not convert these where brackets are unbalanced
        raise ValueError(f"its .npy header is not a Python literal: {e}") from e
    if dtype.hasobject:
        raise ValueError("it contains Python objects")
    return shape, dtype
