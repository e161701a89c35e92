"""The first step of the search: the hash keys of the items of units, as entries sorted by partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.candidates import bucket_entries, sorted_entries
from pipeline.dedup.key_runs import ENTRY, RUN, describe_run
from pipeline.dedup.scratch import Division, Scratch
from pipeline.dedup.signature_table import ItemSamples, read_items, read_samples
from pipeline.dedup.similarity import Similarity
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.runtime.journal import MADE, note
from pipeline.runtime.workspace import Workspace
from schemas.errors import storage_errors
from schemas.files import atomic, write_array

_FLUSH_KEYS = 1 << 21  # entries held in memory, at 8 bytes


@dataclass(frozen=True)
class KeyWorker:
    """Writes the entries of blocks of units."""

    workspace: Workspace
    scratch: Scratch
    similarity: tuple[Similarity, ...]  # of each kind that is searched, by its number
    division: Division

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Map the items into memory; see pipeline.runtime.beam.Worker."""
        items = read_items(self.scratch.items)
        units = np.array_split(np.unique(items["unit"]), self.division.blocks)
        yield lambda block: self._write(block, units[block].tolist(), items)

    def _write(self, block: int, units: Sequence[int], items: NDArray[Any]) -> None:
        path = self.scratch.keys(block)
        runs, written = [np.zeros(0, RUN)], 0
        with atomic(path) as temporary, storage_errors(path), temporary.open("wb") as file:
            for partitions, entries in self._runs(units, items):
                runs.append(describe_run(partitions, entries, start=written))
                file.write(entries.astype(ENTRY).tobytes())
                written += len(entries)
        write_array(self.scratch.key_runs(block), np.concatenate(runs))
        note(MADE, block=block)

    def _runs(
        self, units: Sequence[int], items: NDArray[Any]
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint64]]]:
        """Yield the partitions and entries of units, sorted, at most about `_FLUSH_KEYS` at a time."""
        held: list[tuple[NDArray[np.uint8], NDArray[np.uint64]]] = []
        size = 0
        for samples in read_samples(self.workspace.signatures, units, items):
            raise_if_stopping()
            held.append(self._entries(samples))
            size += len(held[-1][0])
            if size > _FLUSH_KEYS:
                yield _sorted(held)
                held, size = [], 0
        if held:
            yield _sorted(held)

    def _entries(self, samples: ItemSamples) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        has_keys, keys = self.similarity[samples.kind].sample_keys(samples.values)
        return bucket_entries(keys, samples.items[has_keys], samples.kind)


def _sorted(
    held: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint64]]],
) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    partitions, entries = zip(*held, strict=True)
    return sorted_entries(np.concatenate(partitions), np.concatenate(entries))
