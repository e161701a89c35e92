"""The bytes of one sequence in a shard: KEY.tokens.npy, KEY.spans.npy and KEY.json, a tar member each.

A member is a header of one block and content that is padded to whole blocks; the content of the first two is a `.npy`
header, which ends within a block, and an array. Headers are read for what they say, not assumed. Nothing is unpickled,
and nothing outside of the sequence's own bytes is read, whatever a header claims.

Axes: S sequence, M spans, R ranges of a sequence, n tokens in them.
"""

from __future__ import annotations

import functools
import io
import math
import os
import tokenize
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DatasetError

REPAIR = "Pack the dataset again (`longreel pack`), or copy it again from where it is whole."

_BLOCK = 512
_MAGIC = b"\x93NUMPY\x01\x00"  # of the only version that numpy writes for such short headers


class _Member(NamedTuple):
    """An array in the sequence. Places are bytes from where the sequence begins."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int  # of its values
    end: int
    next: int  # where the next member begins


class Sample:
    """One sequence in a shard. It is a context manager, which holds the file open.

    All that reads raises DatasetError that names the shard where it is missing, cut short, or not what headers say.
    """

    def __init__(self, path: Path, start: int, end: int, where: str) -> None:
        self._path, self._start, self._size, self.where = path, start, end - start, where
        self._whole: memoryview | None = None

    def __enter__(self) -> Sample:
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except OSError as e:
            raise self.error(f"cannot be read: {e.strerror}") from e
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def error(self, problem: str) -> DatasetError:
        """Return an error about this sequence."""
        return DatasetError(f"{self.where}: {problem}. {REPAIR}")

    def fetch(self) -> None:
        """Read all of the sequence at once; what is asked for after that comes out of memory."""
        self._whole = self._read(0, self._size)

    def tokens(self, dtype: np.dtype[Any], length: int, ranges: NDArray[np.int64]) -> tuple[NDArray[Any], int]:
        """Return the tokens [n] of `ranges` [R, 2] and where the next member begins; they must be `dtype` [length]."""
        member = self._member(0, "tokens.npy")
        if member.shape != (length,) or member.dtype != dtype:
            raise self.error(f"tokens are {member.dtype} {member.shape}, the card says {dtype} {(length,)}")
        places = (member.start + ranges * dtype.itemsize).tolist()
        runs = [np.frombuffer(self._read(start, end), dtype) for start, end in places]
        return runs[0] if len(runs) == 1 else np.concatenate(runs), member.next

    def spans(self, at: int) -> NDArray[Any]:
        """Return the spans, whose member begins at `at`. They are what is stored, unchecked."""
        member = self._member(at, "spans.npy")
        return np.frombuffer(self._read(member.start, member.end), member.dtype).reshape(member.shape)

    def _member(self, at: int, suffix: str) -> _Member:
        head = bytes(self._read(at, min(at + 2 * _BLOCK, self._size)))
        try:
            name, size = _tar_header(head[:_BLOCK])
        except ValueError as e:
            raise self.error(f"no tar header at byte {self._start + at} ({e})") from e
        if not name.endswith(f".{suffix}"):
            raise self.error(f"found {name!r} where KEY.{suffix} was expected")
        try:
            shape, dtype, header_bytes = _array_header(head[_BLOCK:])
        except ValueError as e:
            raise self.error(f"{suffix} cannot be read ({e})") from e
        start = at + _BLOCK + header_bytes
        end = start + math.prod(shape) * dtype.itemsize
        if end - at - _BLOCK != size:
            raise self.error(f"{suffix} cannot be read (it has {size} bytes, not those of {dtype} {shape})")
        return _Member(shape, dtype, start, end, at + _BLOCK + -(-size // _BLOCK) * _BLOCK)

    def _read(self, start: int, end: int) -> memoryview:
        if not 0 <= start <= end <= self._size:
            raise self.error(f"a header leads to bytes {start} to {end} of a sequence of {self._size}")
        if self._whole is not None:
            return self._whole[start:end]
        try:
            data = os.pread(self._file, end - start, self._start + start)
        except OSError as e:
            raise self.error(f"cannot be read: {e.strerror}") from e
        if len(data) != end - start:
            expected = f"expected {end - start} bytes at {self._start + start}, got {len(data)}"
            raise self.error(f"{expected}: the shard was cut short")
        return memoryview(data)


def _tar_header(block: bytes) -> tuple[str, int]:
    """Return name and size from a USTAR header (POSIX.1-1988), whose numbers are octal; raises ValueError.

    `tarfile` takes several times as long, which a sequence of 4K tokens would feel.
    """
    if block[257:262] != b"ustar":
        raise ValueError("no USTAR header")
    checksum = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    if checksum != int(block[148:156].strip(b"\0 "), 8):
        raise ValueError("bad checksum")
    return block[:100].rstrip(b"\0").decode(), int(block[124:136].strip(b"\0 "), 8)


def _array_header(npy: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and size in bytes of the header with which `npy` begins; raises ValueError."""
    end = len(_MAGIC) + 2 + int.from_bytes(npy[len(_MAGIC) : len(_MAGIC) + 2], "little")
    if not npy.startswith(_MAGIC) or len(npy) < end:
        raise ValueError("it has no .npy header")
    return *_parsed(npy[:end]), end


@functools.lru_cache(maxsize=4096)
def _parsed(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Parse an .npy header: of all tokens of a dataset they are the same, of spans there are few."""
    stream = io.BytesIO(header)
    np.lib.format.read_magic(stream)
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except (SyntaxError, tokenize.TokenError) as e:  # numpy lets these through where brackets do not close
        raise ValueError(f"its .npy header is no Python literal: {e}") from e
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return shape, dtype
