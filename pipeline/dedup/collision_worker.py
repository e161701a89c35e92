"""The second step of the search: items that share a hash key become pairs with collision counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.candidates import PARTITIONS, count_collisions, in_key_range, merge_pairs
from pipeline.dedup.key_runs import read_partition
from pipeline.dedup.scratch import Division, Scratch
from schemas.files import read_array, write_array, write_json
from schemas.storage.location import Location

_MAX_ENTRIES = 1 << 22  # that are sorted together, in about 200 MB


@dataclass(frozen=True)
class CollisionWorker:
    """Turns the entries of partitions into pairs. Memory: about `_MAX_ENTRIES` entries, and the pairs of a part."""

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
    def _runs(self) -> list[tuple[Location, NDArray[Any]]]:
        """The files of entries, and their runs; read with the first element, when all exist."""
        scratch, blocks = self.worker.scratch, range(self.worker.division.blocks)
        return [(scratch.keys(block), np.array(read_array(scratch.key_runs(block)))) for block in blocks]

    def count(self, part: int) -> None:
        """Write the pairs of a part of the partitions."""
        size = PARTITIONS // self.worker.division.parts
        partitions = range(part * size, (part + 1) * size)
        counted = [
            count_collisions(entries, max_bucket=self.worker.max_bucket)
            for partition in partitions
            for entries in self._entries(partition)
        ]
        write_array(self.worker.scratch.collisions(part), merge_pairs([pairs for pairs, _ in counted]))
        write_json(self.worker.scratch.full_buckets(part), {"full": sum(full for _, full in counted)})

    def _entries(self, partition: int) -> Iterator[NDArray[np.uint64]]:
        """Yield the entries of a partition, in several ranges of keys if there are too many; each reads all of them."""
        bounds = [runs["bounds"][:, partition : partition + 2] for _, runs in self._runs]
        ranges = max(1, -(-sum(int(np.diff(some).sum()) for some in bounds) // _MAX_ENTRIES))
        for number in range(ranges):
            parts = [
                in_key_range(entries, number, ranges)
                for place, runs in self._runs
                for entries in read_partition(place, runs, partition)
            ]
            yield np.concatenate([np.zeros(0, np.uint64), *parts])
