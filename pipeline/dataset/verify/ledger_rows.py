"""Checks that the ledger has exactly one row for every span of every sequence, in order, with the same values.

The ledger is in the order of the shards, so it is read once, in parallel with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.kinds.registry import is_kind, kinds
from schemas.errors import DatasetError
from schemas.records import LEDGER
from schemas.shards.sequence import PackedSequence
from schemas.storage.location import Location

_NUMBERS = ("start", "length", "modality", "weight")  # of a span, in the ledger as in the sequence
_COLUMNS = ("sequence", "shard", "span", *_NUMBERS, "document_id", "copy", "document_start", "kind", "split")
_BATCH_ROWS = 1 << 16


class Ledger:
    """The ledger, read sequentially."""

    def __init__(self, path: Location) -> None:
        file = pq.ParquetFile(path.local())  # `verify` has compared its hash with that of the card
        if not file.schema_arrow.equals(LEDGER):
            raise DatasetError(f"its columns are not {', '.join(LEDGER.names)} with their types")
        self._batches = file.iter_batches(_BATCH_ROWS, columns=list(_COLUMNS))
        # Not `empty_table`, for which pyarrow imports pandas where it is installed.
        self._rest = pa.Table.from_batches([], pa.schema([LEDGER.field(name) for name in _COLUMNS]))

    def rows_of(self, shard: str) -> LedgerRows:
        """Return the next rows, as far as they belong to this shard."""
        taken = [self._rest.slice(0, 0)]
        while self._more():
            other = pc.index(pc.equal(self._rest["shard"], shard), False).as_py()
            taken.append(self._rest if other < 0 else self._rest.slice(0, other))
            self._rest = self._rest.slice(len(taken[-1]))
            if other >= 0:
                break
        return LedgerRows(pa.concat_tables(taken))

    def is_at_end(self) -> bool:
        """Return whether all rows were read."""
        return not self._more()

    def _more(self) -> bool:
        while not len(self._rest):
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._rest = pa.Table.from_batches([batch])
        return True


class LedgerRows:
    """The ledger's rows of one shard, by the key of the sequence."""

    def __init__(self, rows: pa.Table) -> None:
        self._numbers: Mapping[str, NDArray[Any]] = {
            name: rows[name].to_numpy() for name in (*_NUMBERS, "span", "copy", "document_start")
        }
        self._strings = {name: rows[name].to_pylist() for name in ("document_id", "kind", "split")}
        self._ranges: dict[str, list[int]] = {}
        self._split: set[str] = set()
        last = None
        for i, key in enumerate(rows["sequence"].to_pylist()):
            if key != last and key in self._ranges:
                self._split.add(key)
            self._ranges.setdefault(key, [i, i])[1] = i + 1
            last = key

    def strays(self, keys: list[str]) -> list[str]:
        """Return the sequences with rows that are not consecutive, or that are not among the `keys` of the shard."""
        return sorted(self._split | (set(self._ranges) - set(keys)))

    def problems(self, sequence: PackedSequence, split: str) -> Iterator[str]:
        """Yield the differences between the rows of a sequence and its spans."""
        first, end = self._ranges.get(sequence.key, (0, 0))
        spans = sequence.spans
        if end - first != len(spans):
            yield f"the ledger has {end - first} rows, the sequence {len(spans)} spans"
            return
        starts, copies = np.array([(p.start, p.copy) for p in sequence.chunks])[spans["document"]].T
        begins = np.flatnonzero(np.diff(spans["document"], prepend=-1))
        offset = spans["start"] - np.repeat(spans["start"][begins], np.diff(begins, append=len(spans)))
        expected = {name: spans[name] for name in _NUMBERS}
        expected |= {"span": np.arange(len(spans)), "copy": copies, "document_start": starts + offset}
        for name, values in expected.items():
            found = self._numbers[name][first:end]
            if not np.array_equal(found, values):
                i = int(np.argmax(found != values))
                yield f"the ledger's {name} of span {i} is {found[i]}, expected {values[i]}"
        ids = [sequence.chunks[i].id for i in spans["document"].tolist()]
        if self._strings["document_id"][first:end] != ids:
            yield "the ledger's document ids differ from those in the json"
        named = set(self._strings["kind"][first:end])
        if set(self._strings["split"][first:end]) != {split} or not all(map(is_kind, named)):
            yield f"the ledger's split is not {split}, or a kind is not one of {', '.join(kinds())}"
