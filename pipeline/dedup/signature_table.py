"""Signatures of a workspace by number: which items take part in a search, and reading one of them.

Items are numbered in the order of `content_id`, so that numbers do not depend on how many units there are. Items of
equal content are one: of several signatures (a remux has the same content and other times) the one with the smallest
hash is taken. The numbering is a file that workers map into memory, 12 bytes an item.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.dedup.similarity import Signature
from pipeline.runtime.units import unit_files, unit_name, unit_number
from pipeline.runtime.workspace import Workspace, read_units, usable
from schemas.errors import DatasetError
from schemas.records import SIGNATURES, SURVEY

COLUMNS = ("content_id", "kind", "starts", "lengths", "samples")
_PLACE = np.dtype([("unit", "<i4"), ("row", "<i4"), ("kind", "<i4")])
_PLACED = pa.schema(
    [*(SIGNATURES.field(name) for name in ("content_id", "kind")), ("unit", pa.int32()), ("row", pa.int32())]
)
_BATCH_ROWS = 256
_CACHE_BYTES = 128 << 20


def number_items(workspace: Workspace, kinds: Sequence[str]) -> tuple[NDArray[Any], pa.Array]:
    """Return the places [N] of the items that take part, in the order of their content_id, and these.

    Those of a kind in `kinds` that the survey did not set aside. The driver holds about 150 bytes an item. Raises
    DatasetError where a unit is damaged.
    """
    going = usable(read_units(workspace.survey, SURVEY).select(["content_id", "reason"]))["content_id"].unique()
    parts = [_places(path) for path in unit_files(workspace.signatures)]
    table = pa.concat_tables([_PLACED.empty_table(), *parts])
    wanted = pc.and_(pc.is_in(table["content_id"], going), pc.is_in(table["kind"], pa.array(kinds, pa.string())))
    table = table.filter(wanted).sort_by([(name, "ascending") for name in ("content_id", "kind", "unit", "row")])
    ids = table["content_id"].combine_chunks()
    places = np.zeros(len(table), _PLACE)
    for name in ("unit", "row"):
        places[name] = table[name].to_numpy()
    places["kind"] = pc.index_in(table["kind"], pa.array(kinds, pa.string())).to_numpy()
    rows = _one_each(ids, places, workspace)
    return places[rows], ids.take(rows)


def _places(path: Path) -> pa.Table:
    with _open(path) as file:
        table = file.read(columns=["content_id", "kind"])
    count = len(table)
    unit, row = np.full(count, unit_number(path), np.int32), np.arange(count, dtype=np.int32)
    return pa.table([*table.columns, pa.array(unit), pa.array(row)], schema=_PLACED)


def _one_each(ids: pa.Array, places: NDArray[Any], workspace: Workspace) -> NDArray[np.int64]:
    """Return the rows to take, one of each id; `ids` are sorted."""
    if not len(ids):
        return np.zeros(0, np.int64)
    new = np.concatenate([[True], pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(False)])
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(ids))
    store = SignatureRows(workspace.signatures, places)
    for at in np.flatnonzero(ends - starts > 1).tolist():
        same = range(int(starts[at]), int(ends[at]))
        starts[at] = min(same, key=lambda row: (int(places["kind"][row]), store.digest(row), row))
    return starts


def read_places(path: Path) -> NDArray[Any]:
    """Map places into memory."""
    places: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return places


def read_unit(directory: Path, unit: int, rows: Mapping[int, int]) -> Iterator[tuple[int, Signature]]:
    """Yield (number, signature) of those rows of a unit that have a number, some hundred in memory at a time."""
    at = 0
    with _open(directory / f"{unit_name(unit)}.parquet") as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(COLUMNS)):
            for offset in range(len(batch)):
                if at + offset in rows:
                    yield rows[at + offset], _signature(batch, offset)
            at += len(batch)


def _signature(rows: pa.Table | pa.RecordBatch, row: int) -> Signature:
    name, kind, starts, lengths, samples = (rows.column(c)[row] for c in COLUMNS)
    return Signature(
        name.as_py(),
        kind.as_py(),
        starts.values.to_numpy(zero_copy_only=False),
        lengths.values.to_numpy(zero_copy_only=False),
        tuple(samples.values.to_pylist()),
    )


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{path} cannot be read ({e}); run `longreel survey` again") from e
    if not file.schema_arrow.remove_metadata().equals(SIGNATURES):
        raise DatasetError(f"{path} was written by another version; run `longreel survey` again")
    return file


@dataclass
class SignatureRows:
    """Reads single signatures, whole row groups at a time, and remembers the last ones up to `_CACHE_BYTES`."""

    directory: Path
    places: NDArray[Any]  # [N] of _PLACE
    _files: dict[int, tuple[pq.ParquetFile, NDArray[np.int64]]] = field(default_factory=dict)
    _groups: OrderedDict[tuple[int, int], pa.Table] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def read(self, number: int) -> Signature:
        """Return the signature of an item."""
        return _signature(*self._find(number))

    def digest(self, number: int) -> bytes:
        """Return a hash of an item's samples and their times."""
        found = self.read(number)
        parts = (found.starts.astype("<f8").tobytes(), found.lengths.astype("<f8").tobytes(), *found.samples)
        return hashlib.sha256(b"".join(parts)).digest()

    def _find(self, number: int) -> tuple[pa.Table, int]:
        unit, row = int(self.places["unit"][number]), int(self.places["row"][number])
        if unit not in self._files:
            file = _open(self.directory / f"{unit_name(unit)}.parquet")
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._files[unit] = file, np.cumsum([0, *sizes])
        file, starts = self._files[unit]
        group = int(np.searchsorted(starts, row, side="right")) - 1
        if (table := self._groups.get((unit, group))) is None:
            table = file.read_row_group(group, columns=list(COLUMNS))
            self._groups[unit, group] = table
            self._bytes += table.nbytes
            while self._bytes > _CACHE_BYTES and len(self._groups) > 1:
                self._bytes -= self._groups.popitem(last=False)[1].nbytes
        else:
            self._groups.move_to_end((unit, group))
        return table, row - int(starts[group])

    def close(self) -> None:
        """Close the files."""
        for file, _ in self._files.values():
            file.close()
