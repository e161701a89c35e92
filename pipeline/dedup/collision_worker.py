"""The second step of the search: items that share a hash key become pairs with collision counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.candidates import PARTITIONS, count_collisions, merge_pairs
from pipeline.dedup.scratch import Division, Scratch
from schemas.checksums import check_appended
from schemas.files import read_array, write_array, write_json
from schemas.storage.location import Location


@dataclass(frozen=True)
class CollisionWorker:
    """Turns the entries of partitions into pairs. Memory: the entries of one partition."""

    scratch: Scratch
    max_bucket: int
    division: Division

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """See pipeline.runtime.beam.Worker."""
        yield _Buckets(self).count


@dataclass
class _Buckets:
    worker: CollisionWorker

    @cached_property
    def _runs(self) -> list[tuple[Location, NDArray[np.int64]]]:
        """The files of entries, and where their partitions start; checked with the first element, when all exist."""
        scratch = self.worker.scratch
        units = np.unique(read_array(scratch.items)["unit"]).tolist()
        for place in (scratch.keys(unit) for unit in units):
            if place.is_local:  # of a file in a bucket, only the partitions of this worker are read
                check_appended(place)
        return [(scratch.keys(unit), read_array(scratch.key_bounds(unit))) for unit in units]

    def count(self, part: int) -> None:
        """Write the pairs of a part of the partitions."""
        size = PARTITIONS // self.worker.division.parts
        partitions = range(part * size, (part + 1) * size)
        counted = [count_collisions(self._entries(p), max_bucket=self.worker.max_bucket) for p in partitions]
        write_array(self.worker.scratch.collisions(part), merge_pairs([pairs for pairs, _ in counted]))
        write_json(self.worker.scratch.full_buckets(part), {"full": sum(full for _, full in counted)})

    def _entries(self, partition: int) -> NDArray[np.uint64]:
        parts = [np.zeros(0, np.uint64)]
        for place, runs in self._runs:
            for start, end in runs[:, partition : partition + 2].tolist():
                if end > start:
                    data = place.read_range(8 * start, 8 * (end - start))
                    parts.append(np.frombuffer(data, "<u8").astype(np.uint64))
        return np.concatenate(parts)
