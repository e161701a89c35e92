"""The second step of the search: items that share a hash key become pairs with collision counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.candidates import PARTITIONS, count_collisions, merge_pairs
from pipeline.dedup.key_runs import read_partition
from pipeline.dedup.scratch import Division, Scratch
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
    def _runs(self) -> list[tuple[Location, NDArray[Any]]]:
        """The files of entries, and their runs; read with the first element, when all exist."""
        scratch = self.worker.scratch
        units = np.unique(read_array(scratch.items)["unit"]).tolist()
        return [(scratch.keys(unit), read_array(scratch.key_runs(unit))) for unit in units]

    def count(self, part: int) -> None:
        """Write the pairs of a part of the partitions."""
        size = PARTITIONS // self.worker.division.parts
        partitions = range(part * size, (part + 1) * size)
        counted = [count_collisions(self._entries(p), max_bucket=self.worker.max_bucket) for p in partitions]
        write_array(self.worker.scratch.collisions(part), merge_pairs([pairs for pairs, _ in counted]))
        write_json(self.worker.scratch.full_buckets(part), {"full": sum(full for _, full in counted)})

    def _entries(self, partition: int) -> NDArray[np.uint64]:
        parts = [some for place, runs in self._runs for some in read_partition(place, runs, partition)]
        return np.concatenate([np.zeros(0, np.uint64), *parts])
