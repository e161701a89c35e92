"""The signatures of a workspace by number: which items take part in a search, and how to read one of them.

Items are numbered in the order of `content_id`, so that numbers do not depend on the number of units. Items of equal
content count as one: of several signatures (a remux has the same content and other times) the one with the smallest
hash is taken. Workers map the numbering into memory, at 12 bytes per item.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.dedup.candidates import MAX_TOGETHER
from pipeline.dedup.similarity import Signature
from pipeline.runtime.cores import usable_cores
from pipeline.runtime.units import unit_files, unit_name, unit_number
from pipeline.runtime.workspace import Workspace, read_units, usable
from schemas.errors import DatasetError
from schemas.files import read_array
from schemas.records import SIGNATURES, SURVEY
from schemas.storage.location import Location
from schemas.tables import open_table

ITEM = np.dtype([("unit", "<i4"), ("row", "<i4"), ("kind", "<i4")])  # where the signature of an item is
_COLUMNS = ("content_id", "kind", "starts", "lengths", "samples", "activity")
_LOCATED = pa.schema(
    [*(SIGNATURES.field(name) for name in ("content_id", "kind")), ("unit", pa.int32()), ("row", pa.int32())]
)
_SAMPLES = 1024  # whose hash keys are computed together: about 1 MB
_CACHE_BYTES = 128 << 20
_OPEN_FILES = max(8, 512 // usable_cores())  # of a worker; the usual limit of a process is 1,024


def number_items(workspace: Workspace, kinds: Sequence[str]) -> tuple[NDArray[Any], pa.Array]:
    """Return the items [N] of a search, an array of ITEM, and their content_ids, both in the order of these.

    They are the items of the given kinds that the survey kept. The driver takes 340 to 530 bytes per item meanwhile.
    Raises DatasetError if a unit is damaged.
    """
    kept = usable(read_units(workspace.survey, SURVEY, ["content_id", "reason"]))["content_id"].unique()
    table = pa.concat_tables([_LOCATED.empty_table(), *map(_located, unit_files(workspace.signatures))])
    is_searched = pc.and_(pc.is_in(table["content_id"], kept), pc.is_in(table["kind"], pa.array(kinds, pa.string())))
    table = table.filter(is_searched).sort_by([(name, "ascending") for name in ("content_id", "kind", "unit", "row")])
    ids = table["content_id"].combine_chunks()
    items = np.zeros(len(table), ITEM)
    for name in ("unit", "row"):
        items[name] = table[name].to_numpy()
    items["kind"] = pc.index_in(table["kind"], pa.array(kinds, pa.string())).to_numpy()
    rows = _one_per_content(ids, items, workspace)
    return items[rows], ids.take(rows)


def _located(path: Location) -> pa.Table:
    """Return content_id, kind, unit and row of the signatures of a unit."""
    with _open(path) as file:
        table = file.read(columns=["content_id", "kind"])
    count = len(table)
    unit, row = np.full(count, unit_number(path), np.int32), np.arange(count, dtype=np.int32)
    return pa.table([*table.columns, pa.array(unit), pa.array(row)], schema=_LOCATED)


def _one_per_content(ids: pa.Array, items: NDArray[Any], workspace: Workspace) -> NDArray[np.int64]:
    """Return the row to take of each content_id in sorted `ids`."""
    if not len(ids):
        return np.zeros(0, np.int64)
    is_new = np.concatenate([[True], pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(False)])
    starts = np.flatnonzero(is_new)
    ends = np.append(starts[1:], len(ids))
    with contextlib.closing(SignatureRows(workspace.signatures, items)) as signatures:
        for at in np.flatnonzero(ends - starts > 1).tolist():
            copies = range(int(starts[at]), int(ends[at]))
            starts[at] = min(copies, key=lambda row: (int(items["kind"][row]), signatures.digest(row), row))
    return starts


def read_items(path: Location) -> NDArray[Any]:
    """Map an array of ITEM into memory."""
    return read_array(path)


class ItemSamples(NamedTuple):
    """The n samples of some items of one kind, those of an item in a row."""

    kind: int
    items: NDArray[np.int64]  # [n], number of the item that each belongs to
    values: NDArray[np.uint8]  # [n, size]


def read_samples(directory: Location, units: Sequence[int], items: NDArray[Any]) -> Iterator[ItemSamples]:
    """Yield the samples of the items of units, which are in order and without a gap in those that have items.

    The samples are those of at most `MAX_TOGETHER` items, and about `_SAMPLES` at a time.
    """
    numbers = np.flatnonzero((items["unit"] >= units[0]) & (items["unit"] <= units[-1]))
    numbers = numbers[np.lexsort((items["row"][numbers], items["unit"][numbers]))]
    bounds = np.searchsorted(items["unit"][numbers], [*units, units[-1] + 1]).tolist()
    for unit, (start, end) in zip(units, pairwise(bounds), strict=True):
        yield from _samples_of_unit(directory, unit, items, numbers[start:end])


def _samples_of_unit(
    directory: Location, unit: int, items: NDArray[Any], numbers: NDArray[np.int64]
) -> Iterator[ItemSamples]:
    """Yield the samples of the items `numbers`, which are those of a unit by row."""
    rows, kinds = items["row"][numbers], items["kind"][numbers]
    first, path = 0, directory / f"{unit_name(unit)}.parquet"
    with _open(path) as file:
        for batch in file.iter_batches(MAX_TOGETHER, columns=["samples"]):
            inside = slice(*np.searchsorted(rows, (first, first + len(batch))).tolist())
            for kind in np.unique(kinds[inside]).tolist():
                some = np.flatnonzero(kinds[inside] == kind)
                lists = batch.column("samples").take(pa.array(rows[inside][some] - first))
                yield from _divided(kind, numbers[inside][some], lists, path)
            first += len(batch)


def _divided(kind: int, numbers: NDArray[np.int64], lists: pa.ListArray, path: Location) -> Iterator[ItemSamples]:
    """Yield the samples of items, given as a list of byte strings for each, in groups."""
    values = _as_matrix(lists.flatten(), path)
    ends = np.cumsum(lists.value_lengths().to_numpy())
    items = np.repeat(numbers, np.diff(ends, prepend=0))
    start, first = 0, 0
    while first < len(ends):
        last = max(first, int(np.searchsorted(ends, start + _SAMPLES, "right")) - 1)  # at least one item
        end = int(ends[last])
        yield ItemSamples(kind, items[start:end], values[start:end])
        start, first = end, last + 1


def _as_matrix(samples: pa.BinaryArray, path: Location) -> NDArray[np.uint8]:
    """Return samples of one length as [n, length], without a copy."""
    if not len(samples):
        return np.zeros((0, 0), np.uint8)
    _, offsets, data = samples.buffers()
    bounds = np.frombuffer(offsets, np.int32)[samples.offset : samples.offset + len(samples) + 1]
    sizes = np.diff(bounds)
    if samples.null_count or (sizes != sizes[0]).any():
        raise DatasetError(f"{path} has samples of different lengths")
    return np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]].reshape(len(samples), -1)


def _signature(rows: pa.Table | pa.RecordBatch, row: int) -> Signature:
    content_id, kind, starts, lengths, samples, activity = (rows.column(name)[row] for name in _COLUMNS)
    return Signature(
        content_id.as_py(),
        kind.as_py(),
        starts.values.to_numpy(zero_copy_only=False),
        lengths.values.to_numpy(zero_copy_only=False),
        tuple(samples.values.to_pylist()),
        activity.as_py(),
    )


@contextmanager
def _open(path: Location) -> Iterator[pq.ParquetFile]:
    try:
        with open_table(path) as file:
            if not file.schema_arrow.remove_metadata().equals(SIGNATURES):
                raise DatasetError(f"{path} was written by another version")
            yield file
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel survey` again") from e


@dataclass
class SignatureRows:
    """Random access to signatures: reads whole row groups, and caches the latest `_CACHE_BYTES` of them.

    At most `_OPEN_FILES` are open, because a workspace of a million items has 8,192 units.
    """

    directory: Location
    items: NDArray[Any]  # [N] of ITEM
    _files: OrderedDict[int, tuple[pq.ParquetFile, ExitStack]] = field(default_factory=OrderedDict)
    _starts: dict[int, NDArray[np.int32]] = field(default_factory=dict)  # the first rows of the row groups of a unit
    _groups: OrderedDict[tuple[int, int], pa.Table] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def read(self, number: int) -> Signature:
        """Return the signature of an item."""
        return _signature(*self._find(number))

    def digest(self, number: int) -> bytes:
        """Return a SHA-256 of an item's samples and their times."""
        found = self.read(number)
        times = (found.starts.astype("<f8").tobytes(), found.lengths.astype("<f8").tobytes())
        return hashlib.sha256(b"".join([*times, *found.samples])).digest()

    def _find(self, number: int) -> tuple[pa.Table, int]:
        """Return the row group of an item, and its row therein."""
        unit, row = int(self.items["unit"][number]), int(self.items["row"][number])
        if unit not in self._starts:
            self._file(unit)
        starts = self._starts[unit]
        group = int(np.searchsorted(starts, row, side="right")) - 1
        if (table := self._groups.get((unit, group))) is None:
            table = self._file(unit).read_row_group(group, columns=list(_COLUMNS))
            self._groups[unit, group] = table
            self._bytes += table.nbytes
            while self._bytes > _CACHE_BYTES and len(self._groups) > 1:
                self._bytes -= self._groups.popitem(last=False)[1].nbytes
        else:
            self._groups.move_to_end((unit, group))
        return table, row - int(starts[group])

    def _file(self, unit: int) -> pq.ParquetFile:
        """Return the open file of a unit."""
        if unit in self._files:
            self._files.move_to_end(unit)
            return self._files[unit][0]
        while len(self._files) >= _OPEN_FILES:
            self._files.popitem(last=False)[1][1].close()
        resources = ExitStack()
        file = resources.enter_context(_open(self.directory / f"{unit_name(unit)}.parquet"))
        self._files[unit] = file, resources
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._starts[unit] = np.cumsum([0, *sizes], dtype=np.int32)
        return file

    def close(self) -> None:
        """Close the files."""
        for _, resources in self._files.values():
            resources.close()
        self._files.clear()
