"""The three steps of a match, each a worker that leaves files for the next one in a folder of this run.

    places.npy         the items that take part, by number (`pipeline/dedup/signature_table.py`)
    keys-00012.u64     a unit's entries, in runs, each sorted by partition
    keys-00012.npy     int64 [runs, PARTITIONS + 1]: where in the file each run's partitions begin
    votes-007.npy      the votes of some partitions, sorted by pair
    votes-007.json     how many of their buckets were overfull
    pairs-063.parquet  what the pairs of a range share, sorted

A step reads only the slices that it needs, so memory is one partition's entries or one range's votes a worker, however
many items there are; on disk there are 8 bytes a key and 16 a pair that meets. Files are opened by the names that they
must have: one that is missing is an error, and none of another run is met.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.dedup.candidates import (
    PARTITIONS,
    VOTE,
    Votes,
    add_votes,
    count_votes,
    entries_of,
    marked,
    of_two_samples,
    split_pair,
)
from pipeline.dedup.signature_table import SignatureRows, read_places, read_unit
from pipeline.dedup.similarity import Shared, Signature, Similarity
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.runtime.progress import MADE, note
from pipeline.runtime.units import unit_name
from pipeline.runtime.workspace import Workspace
from schemas.errors import storage_errors
from schemas.files import atomic, write_array, write_text
from schemas.records import PAIRS

PLACES, COUNTS = "places.npy", "counts"

_ITEMS_A_PART = 32
_MOST_RANGES = 64
_FLUSH_KEYS = 1 << 21
_GROUP_ROWS = 10_000


class Spread(NamedTuple):
    """How many elements the work is cut into; decides nothing else."""

    items: int
    parts: int  # of the partitions
    ranges: int  # of pairs, by the smaller number

    @classmethod
    def of(cls, items: int) -> Spread:
        """Cut the work on so many items."""
        parts = min(PARTITIONS, 1 << (items // _ITEMS_A_PART).bit_length())
        return cls(items, parts, min(_MOST_RANGES, parts))


@dataclass(frozen=True)
class KeyWorker:
    """Writes the entries of units."""

    workspace: Workspace
    folder: Path
    likeness: tuple[Similarity, ...]  # of each kind that is searched, in the order of the places' kinds

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Map the numbering; see pipeline.runtime.beam.Worker."""
        places = read_places(self.folder / PLACES)
        yield lambda unit: self._write(unit, places)

    def _write(self, unit: int, places: NDArray[Any]) -> None:
        path = _keys_file(self.folder, unit)
        bounds, written = [np.zeros((0, PARTITIONS + 1), np.int64)], 0
        with atomic(path) as temporary, temporary.open("wb") as file, storage_errors(path):
            for partitions, entries in self._runs(unit, places):
                bounds.append(written + _bounds(partitions, PARTITIONS)[None])
                file.write(entries.astype("<u8").tobytes())
                written += len(entries)
        write_array(path.with_suffix(".npy"), np.concatenate(bounds))
        note(self.workspace.log("dedup"), MADE, unit=unit)

    def _runs(self, unit: int, places: NDArray[Any]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint64]]]:
        """Yield the partitions and entries of a unit, sorted, some million at a time."""
        numbers = np.flatnonzero(places["unit"] == unit)
        rows = dict(zip(places["row"][numbers].tolist(), numbers.tolist(), strict=True))
        held: list[_Keys] = []
        size = 0
        for number, signature in read_unit(self.workspace.signatures, unit, rows):
            raise_if_stopping()
            kind = int(places["kind"][number])
            held.append(_Keys(*marked(self.likeness[kind].hash_keys(signature)), number, kind))
            size += len(held[-1].keys)
            if size > _FLUSH_KEYS:
                yield _entries(held)
                held, size = [], 0
        if held:
            yield _entries(held)


class _Keys(NamedTuple):
    """The keys of an item."""

    keys: NDArray[np.uint64]
    marks: NDArray[np.uint8]
    number: int
    kind: int


def _entries(held: Sequence[_Keys]) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    keys, marks, numbers, kinds = zip(*held, strict=True)
    sizes = [len(some) for some in keys]
    items, of_kind = (np.repeat(np.array(values, np.uint64), sizes) for values in (numbers, kinds))
    return entries_of(np.concatenate(keys), items, np.concatenate(marks), of_kind)


def _bounds(numbers: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return where in sorted numbers [N] below `count` each begins, and N: [count + 1]."""
    return np.searchsorted(numbers, np.arange(count + 1)).astype(np.int64)


def _keys_file(folder: Path, unit: int) -> Path:
    return folder / f"keys-{unit_name(unit)}.u64"


def _votes_file(folder: Path, part: int) -> Path:
    return folder / f"votes-{part:03d}.npy"


@dataclass(frozen=True)
class BucketWorker:
    """Turns the entries of a partition into votes."""

    folder: Path
    units: tuple[int, ...]
    bucket: int
    spread: Spread

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """See pipeline.runtime.beam.Worker."""
        yield _Buckets(self).count


@dataclass
class _Buckets:
    worker: BucketWorker

    @cached_property
    def _runs(self) -> list[tuple[Path, NDArray[np.int64]]]:
        """The files of entries and where their partitions begin; read when all are there."""
        paths = [_keys_file(self.worker.folder, unit) for unit in self.worker.units]
        return [(path, np.load(path.with_suffix(".npy"), allow_pickle=False)) for path in paths]

    def count(self, part: int) -> None:
        """Write the votes of a part of the partitions."""
        each = PARTITIONS // self.worker.spread.parts
        partitions = range(part * each, (part + 1) * each)
        counted = [count_votes(self._entries(partition), cap=self.worker.bucket) for partition in partitions]
        path = _votes_file(self.worker.folder, part)
        write_array(path, add_votes([votes for votes, _ in counted]))
        write_text(path.with_suffix(".json"), json.dumps(sum(overfull for _, overfull in counted)))

    def _entries(self, partition: int) -> NDArray[np.uint64]:
        parts = [np.zeros(0, np.uint64)]
        for path, runs in self._runs:
            for start, end in runs[:, partition : partition + 2].tolist():
                if end > start:
                    parts.append(np.fromfile(path, "<u8", end - start, offset=8 * start).astype(np.uint64))
        return np.concatenate(parts)


@dataclass(frozen=True)
class CompareWorker:
    """Compares the pairs of a range that have evidence enough, and writes what they share."""

    workspace: Workspace
    folder: Path
    likeness: tuple[Similarity, ...]
    spread: Spread

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Open the signatures; see pipeline.runtime.beam.Worker."""
        places = read_places(self.folder / PLACES)
        with closing(SignatureRows(self.workspace.signatures, places)) as signatures:
            yield lambda number: self._compare(number, places, signatures)

    def _compare(self, number: int, places: NDArray[Any], signatures: SignatureRows) -> None:
        found, overfull = self._votes(number)
        one, other = split_pair(found["pair"])
        least, sure = (
            np.array([getattr(kind, name) for kind in self.likeness])
            for name in ("min_collisions", "sufficient_collisions")
        )
        kind, votes = places["kind"][one], found["votes"]
        likely = (votes >= sure[kind]) | ((votes >= least[kind]) & of_two_samples(found))
        shared = self._shared(one[likely].tolist(), other[likely].tolist(), places, signatures)
        counts = Counter({"candidates": int(likely.sum()), "overfull buckets": overfull})
        path = self.folder / f"pairs-{number:03d}.parquet"
        with atomic(path) as temporary, pq.ParquetWriter(temporary, PAIRS) as writer:
            while rows := list(itertools.islice(shared, _GROUP_ROWS)):
                writer.write_table(pa.Table.from_pylist(rows, PAIRS))
                counts["pairs"] += len(rows)
            writer.add_key_value_metadata({COUNTS: json.dumps(counts)})
        note(self.workspace.log("dedup"), MADE, range=number)

    def _votes(self, number: int) -> tuple[Votes, int]:
        """Return the votes of a range, and the overfull buckets of all, which the first range tells."""
        count = self.spread.ranges
        edges = np.array([-(-self.spread.items * at // count) << 32 for at in (number, number + 1)], np.uint64)
        paths = [_votes_file(self.folder, part) for part in range(self.spread.parts)]
        parts = [np.zeros(0, VOTE)]
        for path in paths:
            votes = np.load(path, mmap_mode="r", allow_pickle=False)
            parts.append(votes[slice(*np.searchsorted(votes["pair"], edges).tolist())])
        told = (path.with_suffix(".json") for path in paths if number == 0)
        return add_votes(parts), sum(json.loads(path.read_text(encoding="utf-8")) for path in told)

    def _shared(
        self, ones: Sequence[int], others: Sequence[int], places: NDArray[Any], signatures: SignatureRows
    ) -> Iterator[dict[str, Any]]:
        """Yield a row for each pair that shares something."""
        for one, other in zip(ones, others, strict=True):
            raise_if_stopping()
            a, b = signatures.read(one), signatures.read(other)
            if shared := self.likeness[places["kind"][one]].compare(a, b):
                yield _row(a, b, shared)


def _row(a: Signature, b: Signature, shared: Shared) -> dict[str, Any]:
    ranges = {
        name: [{"start": start, "end": end} for start, end in given]
        for name, given in (("shared_a", shared.shared_a), ("shared_b", shared.shared_b))
    }
    numbers = {name: getattr(shared, name) for name in ("containment_a", "containment_b", "similarity")}
    return {"a": a.content_id, "b": b.content_id, "kind": a.kind, **numbers, **ranges}
