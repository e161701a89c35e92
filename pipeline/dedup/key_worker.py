"""The first step of the search: the hash keys of each unit's items, as entries sorted by partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.candidates import bucket_entries, distinct_keys
from pipeline.dedup.key_runs import ENTRY, RUN, describe_run
from pipeline.dedup.scratch import Scratch
from pipeline.dedup.signature_table import read_items, read_unit
from pipeline.dedup.similarity import Similarity
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.runtime.journal import MADE, note
from pipeline.runtime.workspace import Workspace
from schemas.errors import storage_errors
from schemas.files import atomic, write_array

_FLUSH_KEYS = 1 << 21  # entries held in memory, at 8 bytes


class _Keys(NamedTuple):
    """The distinct hash keys of one item."""

    keys: NDArray[np.uint64]
    marks: NDArray[np.uint8]
    number: int
    kind: int


@dataclass(frozen=True)
class KeyWorker:
    """Writes the entries of units."""

    workspace: Workspace
    scratch: Scratch
    similarity: tuple[Similarity, ...]  # of each kind that is searched, by its number

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Map the items into memory; see pipeline.runtime.beam.Worker."""
        items = read_items(self.scratch.items)
        yield lambda unit: self._write(unit, items)

    def _write(self, unit: int, items: NDArray[Any]) -> None:
        path = self.scratch.keys(unit)
        runs, written = [np.zeros(0, RUN)], 0
        with atomic(path) as temporary, storage_errors(path), temporary.open("wb") as file:
            for partitions, entries in self._runs(unit, items):
                runs.append(describe_run(partitions, entries, start=written))
                file.write(entries.astype(ENTRY).tobytes())
                written += len(entries)
        write_array(self.scratch.key_runs(unit), np.concatenate(runs))
        note(MADE, unit=unit)

    def _runs(self, unit: int, items: NDArray[Any]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint64]]]:
        """Yield the partitions and entries of a unit, sorted, at most about `_FLUSH_KEYS` at a time."""
        numbers = np.flatnonzero(items["unit"] == unit)
        rows = dict(zip(items["row"][numbers].tolist(), numbers.tolist(), strict=True))
        held: list[_Keys] = []
        size = 0
        for number, signature in read_unit(self.workspace.signatures, unit, rows):
            raise_if_stopping()
            kind = int(items["kind"][number])
            held.append(_Keys(*distinct_keys(self.similarity[kind].hash_keys(signature)), number, kind))
            size += len(held[-1].keys)
            if size > _FLUSH_KEYS:
                yield _entries(held)
                held, size = [], 0
        if held:
            yield _entries(held)


def _entries(held: Sequence[_Keys]) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    keys, marks, numbers, kinds = zip(*held, strict=True)
    sizes = [len(some) for some in keys]
    items, of_kind = (np.repeat(np.array(values, np.uint64), sizes) for values in (numbers, kinds))
    return bucket_entries(np.concatenate(keys), items, np.concatenate(marks), of_kind)
