"""Files of hash keys: entries in runs, each sorted by partition. A reader of one partition reads its ranges only.

A second file has one `RUN` for each run: where its partitions are in the first, and the checksum of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from pipeline.dedup.candidates import PARTITIONS
from schemas.errors import DatasetError
from schemas.storage.location import Location

ENTRY = np.dtype("<u8")
RUN = np.dtype([("bounds", "<i8", (PARTITIONS + 1,)), ("checksums", "<u8", (PARTITIONS,))])


def describe_run(partitions: NDArray[np.uint8], entries: NDArray[np.uint64], *, start: int) -> NDArray[Any]:
    """Return an array with the `RUN` of entries that are sorted by partition; `start` entries precede them."""
    run = np.zeros(1, RUN)
    bounds = np.searchsorted(partitions, np.arange(PARTITIONS + 1))
    run["bounds"] = start + bounds
    data = entries.astype(ENTRY).tobytes()
    size = ENTRY.itemsize
    sums = [_sum(data[size * first : size * end]) for first, end in pairwise(bounds.tolist())]
    run["checksums"] = np.array(sums, np.uint64)
    return run


def read_partition(place: Location, runs: NDArray[Any], partition: int) -> Iterator[NDArray[np.uint64]]:
    """Yield the entries of a partition, run by run; raises DatasetError if they are missing or damaged."""
    for run in runs:
        start, end = run["bounds"][partition : partition + 2].tolist()
        if end > start:
            yield _read(place, start, end, int(run["checksums"][partition]))


def _read(place: Location, start: int, end: int, expected: int) -> NDArray[np.uint64]:
    try:
        data = place.read_range(ENTRY.itemsize * start, ENTRY.itemsize * (end - start))
    except (OSError, EOFError) as e:
        raise DatasetError(f"{place} cannot be read ({e}); run the same command again") from e
    if _sum(data) != expected:
        raise DatasetError(f"{place} is damaged: its checksum does not match; run the same command again")
    return np.frombuffer(data, ENTRY).astype(np.uint64)


def _sum(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data)
