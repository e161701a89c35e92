"""Reads one sequence in a shard, or parts of it without the rest: headers, ranges of tokens, and spans.

`fetch` reads all bytes and can compare them with the checksum in the index. `schemas.shards.sequence` describes the
bytes; here, for speed, headers are parsed and only their consistency is checked. Nothing is unpickled, and nothing
outside the sequence's bytes is read, whatever a header says.

Axes: S sequence, M spans, R ranges of a sequence, n tokens in them.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.dataset import REPAIR
from schemas.errors import DamagedSequence
from schemas.shards.index import checksum_of_sequence
from schemas.shards.npy import parse_npy_header
from schemas.shards.sequence import SPANS_MEMBER, TOKENS_MEMBER
from schemas.shards.tar import BLOCK, padded_size, parse_header
from schemas.storage.regular import regular_descriptor


class _Member(NamedTuple):
    """An array in the sequence. Offsets are in bytes from the start of the sequence."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int  # of its values
    end: int
    next: int  # start of the next member


class SequenceFile:
    """One sequence: bytes [start, end) of a local shard. A context manager, which keeps the file open.

    Methods that read raise DamagedSequence with `where` if the shard is missing, truncated, or contradicts its headers.
    """

    def __init__(self, path: str | Path | None, start: int, end: int, where: str, *, checksum: str) -> None:
        self._path, self._start, self._size, self.where = path, start, end - start, where
        self._checksum = checksum
        self._whole: memoryview | None = None

    def __enter__(self) -> SequenceFile:
        assert self._path is not None
        try:
            self._file = regular_descriptor(self._path, was_regular=True)  # its size was compared with the index
        except OSError as e:
            raise self.error(f"cannot be read: {e.strerror}") from e
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def error(self, problem: str) -> DamagedSequence:
        """Return an error about this sequence."""
        return DamagedSequence(f"{self.where}: {problem}. {REPAIR}")

    def fetch(self, *, is_checked: bool = False) -> None:
        """Read the whole sequence at once; later reads are served from memory.

        Raises DamagedSequence if its bytes are not those that were written there, unless that `is_checked` already.
        """
        whole = self._read(0, self._size)
        if not is_checked and checksum_of_sequence(whole) != self._checksum:
            raise self.error("its bytes were altered: their checksum is not the one in the index")
        self._whole = whole

    def tokens(self, dtype: np.dtype[Any], length: int, ranges: NDArray[np.int64]) -> tuple[NDArray[Any], int]:
        """Return the tokens [n] of `ranges` [R, 2] and the offset of the next member.

        Raises DamagedSequence if the member is not an array `dtype` [length].
        """
        member = self._member(0, TOKENS_MEMBER)
        if member.shape != (length,) or member.dtype != dtype:
            raise self.error(f"tokens are {member.dtype} {member.shape}, the card says {dtype} {(length,)}")
        bounds = (member.start + ranges * dtype.itemsize).tolist()
        runs = [np.frombuffer(self._read(start, end), dtype) for start, end in bounds]
        return runs[0] if len(runs) == 1 else np.concatenate(runs), member.next

    def spans(self, at: int) -> NDArray[Any]:
        """Return the spans as stored, unchecked; `at` is the offset of their member."""
        member = self._member(at, SPANS_MEMBER)
        return np.frombuffer(self._read(member.start, member.end), member.dtype).reshape(member.shape)

    def _member(self, at: int, suffix: str) -> _Member:
        head = bytes(self._read(at, min(at + 2 * BLOCK, self._size)))
        try:
            name, size = parse_header(head[:BLOCK])
        except ValueError as e:
            raise self.error(f"no tar header at byte {self._start + at} ({e})") from e
        if not name.endswith(f".{suffix}"):
            raise self.error(f"found {name!r} where KEY.{suffix} was expected")
        try:
            shape, dtype, header_bytes = parse_npy_header(head[BLOCK:])
        except ValueError as e:
            raise self.error(f"{suffix} cannot be read ({e})") from e
        start = at + BLOCK + header_bytes
        end = start + math.prod(shape) * dtype.itemsize
        if end - at - BLOCK != size:
            raise self.error(f"{suffix} cannot be read (it has {size} bytes, not those of {dtype} {shape})")
        return _Member(shape, dtype, start, end, at + BLOCK + padded_size(size))

    def _read(self, start: int, end: int) -> memoryview:
        if not 0 <= start <= end <= self._size:
            raise self.error(f"a header leads to bytes {start} to {end} of a sequence of {self._size}")
        if self._whole is not None:
            return self._whole[start:end]
        try:
            data = self._bytes(start, end)
        except OSError as e:
            raise self.error(f"cannot be read: {e.strerror}") from e
        except EOFError as e:
            raise self.error(f"{e}: the shard was truncated") from e
        if len(data) != end - start:
            expected = f"expected {end - start} bytes at {self._start + start}, got {len(data)}"
            raise self.error(f"{expected}: the shard was truncated")
        return memoryview(data)

    def _bytes(self, start: int, end: int) -> bytes:
        return os.pread(self._file, end - start, self._start + start)
