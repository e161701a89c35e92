"""Reads one sequence of a shard in an object store, as `schemas.shards.ranged` does of a local file.

A request takes tens of milliseconds, so the parts of a sequence that are needed are requested at once and not one after
the other: their places follow from the type and length of the tokens. If the headers turn out to say something else,
the parts are requested where they say.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.shards.npy import npy_header
from schemas.shards.ranged import SequenceFile
from schemas.shards.tar import BLOCK, padded_size
from schemas.storage.location import Location

_REQUESTS = 64  # in flight in a process
_PART_BYTES = 4 << 20  # of a long read, which is divided
_END_BYTES = 1 << 15  # enough for the spans of most sequences


class RemoteSequence(SequenceFile):
    """One sequence: bytes [start, end) of an object."""

    def __init__(self, location: Location, start: int, end: int, where: str, *, checksum: str) -> None:
        super().__init__(None, start, end, where, checksum=checksum)
        self._location = location
        self._parts: list[tuple[int, bytes]] = []

    def __enter__(self) -> RemoteSequence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts = []

    def request(self, dtype: np.dtype[Any], length: int, ranges: NDArray[np.int64]) -> None:
        """Request what `tokens` and `spans` will read."""
        header = npy_header(dtype, length)
        first = BLOCK + len(header)
        spans = BLOCK + padded_size(len(header) + length * dtype.itemsize)
        wanted = [(0, 2 * BLOCK), *(first + ranges * dtype.itemsize).tolist(), (spans, spans + _END_BYTES)]
        bounds = [(start, min(end, self._size)) for start, end in wanted if start < min(end, self._size)]
        self._parts = [(start, data) for (start, _), data in zip(bounds, self._requested(bounds), strict=True)]

    def _bytes(self, start: int, end: int) -> bytes:
        for first, data in self._parts:
            if first <= start and end <= first + len(data):
                return data[start - first : end - first]
        return b"".join(self._requested(list(pairwise([*range(start, end, _PART_BYTES), end]))))

    def _requested(self, bounds: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return ranges of the sequence, requested in parallel."""
        if len(bounds) == 1:
            return [self._request(bounds[0])]
        return list(_pool().map(self._request, bounds))

    def _request(self, bound: tuple[int, int]) -> bytes:
        start, end = bound
        return self._location.read_range(self._start + start, end - start)


def open_sequence(location: Location, start: int, end: int, where: str, *, checksum: str) -> SequenceFile:
    """Return a sequence of a shard in any store, to be used as a context manager."""
    if location.is_local:
        return SequenceFile(location.local(), start, end, where, checksum=checksum)
    return RemoteSequence(location, start, end, where, checksum=checksum)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_REQUESTS, thread_name_prefix="longreel-ranges")
