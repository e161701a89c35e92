"""The token store: every document's tokens, written once, read by slices.

    unit-00000-5f2a9c01.arrow   Arrow IPC file, one column `tokens`: large_list<uint16 | uint32>, batches of a few MB
    unit-00000.parquet          one row per document (schemas.records.TOKENS), without tokens; the commit
    store.json                  facts about the whole store; written when tokenize is complete

The Arrow file is named after its content and the index names it, so replacing the index replaces a unit: a crash at any
point leaves the complete old unit or the complete new one. When the units of a workspace are divided, their indexes
name the files of the units before (`share_tokens`), until tokenize writes each unit again. Reading maps a local file
into memory and copies nothing; of a remote one, it reads the batches that are needed. A missing or truncated file is
detected when it is opened; a changed byte, by `check`, which reads the whole file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.runtime.units import read_rows, unit_files, unit_name, unit_number
from schemas.errors import DatasetError
from schemas.files import inside, json_with_checksum, read_json
from schemas.fingerprint import sha256_file
from schemas.records import TOKENS
from schemas.rows import DocumentRow, document_rows, document_table
from schemas.storage.location import Location
from schemas.tables import open_table, write_table
from schemas.vocab import Vocabulary

FACTS = "store.json"
BATCH_BYTES = 4 << 20
_OPEN_FILES = 64  # Arrow files kept mapped at a time
_OPEN_BATCHES = 4096  # batches of these whose offsets are cached
_REMOTE_BATCHES = 16  # of a store: these are in memory
_NAME, _SIZE = b"arrow", b"arrow_bytes"


def items_of(document_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return for each document the id of the item that it was made of: the part of a clip's id before the #."""
    return pc.replace_substring_regex(document_ids, "#.*", "")


class TokenWriter:
    """Appends documents to one Arrow file; `append` returns the batch and row of a document."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._schema = pa.schema([pa.field("tokens", pa.large_list(pa.from_numpy_dtype(dtype)), nullable=False)])
        self._file = pa.ipc.new_file(str(path), self._schema)
        self._pending: list[NDArray[Any]] = []
        self._pending_bytes = 0
        self._batch = 0

    def append(self, tokens: NDArray[Any]) -> tuple[int, int]:
        """Add one document's tokens [length] and return its (batch, row)."""
        place = self._batch, len(self._pending)
        self._pending.append(np.ascontiguousarray(tokens, self._dtype))
        self._pending_bytes += self._pending[-1].nbytes
        if self._pending_bytes >= BATCH_BYTES:
            self._flush()
        return place

    def close(self) -> None:
        """Write pending documents and the footer of the file."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._pending:
            offsets = np.cumsum([0, *map(len, self._pending)], dtype=np.int64)
            column = pa.LargeListArray.from_arrays(offsets, pa.array(np.concatenate(self._pending)))
            self._file.write_batch(pa.record_batch([column], schema=self._schema))
            self._pending, self._pending_bytes = [], 0
            self._batch += 1


class StoredDocument(NamedTuple):
    """A document of the store: its index entry, and its tokens [length], none if it was rejected."""

    row: DocumentRow
    tokens: NDArray[Any]


def write_unit(
    directory: Location,
    unit: int,
    documents: Iterable[tuple[DocumentRow, NDArray[Any]]],
    dtype: np.dtype[Any],
) -> pa.Table:
    """Replace a unit with these documents, in their order, and return its index.

    `unit`, `batch`, `row` and `length` of a row are set here. A row with a `reason` stores no tokens. If `documents`
    raises, the unit on disk is unchanged.
    """
    rows: list[DocumentRow] = []
    with directory.scratch(f"{unit_name(unit)}.arrow") as temporary:
        writer = TokenWriter(temporary, dtype)
        for row, tokens in documents:
            batch, place = (-1, -1) if row.reason else writer.append(tokens)
            rows.append(dataclasses.replace(row, unit=unit, batch=batch, row=place, length=len(tokens)))
        writer.close()
        arrow = directory / _arrow_name(unit_name(unit), Location.parse(temporary))
        metadata = {_NAME: arrow.name, _SIZE: str(temporary.stat().st_size)}
        arrow.put(temporary)
    table = document_table(rows).replace_schema_metadata(metadata)
    write_table(directory / f"{unit_name(unit)}.parquet", table)
    for stale in directory.list(f"{unit_name(unit)}-*.arrow"):
        if stale != arrow:
            stale.delete()
    return table


def remove_unit(directory: Location, unit: int) -> None:
    """Delete the files of a unit."""
    (directory / f"{unit_name(unit)}.parquet").delete()
    for arrow in directory.list(f"{unit_name(unit)}-*.arrow"):
        arrow.delete()


def share_tokens(index: pa.Table, directory: Location) -> pa.Table:
    """Return rows of the index of a unit of `directory` for a folder next to it; their tokens stay where they are."""
    metadata = dict(index.schema.metadata)
    name = metadata[_NAME].decode()
    return index.replace_schema_metadata(metadata | {_NAME: name if "/" in name else f"{directory.name}/{name}"})


def shared_file(directory: Location, unit: int) -> Location | None:
    """Return the file with the tokens of a unit if it was a larger unit's before a division; None if it is its own."""
    try:
        path = _arrow_file(directory, unit)
    except DatasetError:  # tokenize computes the unit again
        return None
    return path if path.parent != directory else None


def orphans(directory: Location) -> list[Location]:
    """Return the files of tokens that no index names, those of folders next to `directory` included.

    A process was killed before it could delete them, or each unit has its own file again after they were divided.
    """
    named = set()
    for path in unit_files(directory):
        with contextlib.suppress(DatasetError):
            named.add(_arrow_file(directory, unit_number(path)))
    folders = [directory, *(path for path in directory.parent.list() if path.name.isdigit() and path != directory)]
    return sorted(path for folder in folders for path in folder.list("unit-*.arrow") if path not in named)


def token_type(directory: Location, unit: int) -> np.dtype[Any]:
    """Return the type of the tokens of a unit; raises DatasetError if they are missing or truncated."""
    with _opened(_arrow_file(directory, unit)) as source:
        field = pa.ipc.open_file(source).schema.field("tokens")
    return np.dtype(field.type.value_type.to_pandas_dtype())


def read_unit(directory: Location, unit: int) -> list[DocumentRow]:
    """Return the index rows of a unit; none if it is absent or damaged, so that it is computed again."""
    try:
        _arrow_file(directory, unit)
        return document_rows(read_rows(directory / f"{unit_name(unit)}.parquet", TOKENS))
    except DatasetError:
        return []


def _arrow_name(unit: str, content: Location) -> str:
    return f"{unit}-{sha256_file(content)[:8]}.arrow"


def _opened(arrow: Location) -> pa.NativeFile:
    """Map a local file into memory; read ranges of a remote one."""
    return pa.memory_map(str(arrow)) if arrow.is_local else pa.PythonFile(arrow.open(), "r")


def _arrow_file(directory: Location, unit: int) -> Location:
    index = directory / f"{unit_name(unit)}.parquet"
    try:
        with open_table(index) as file:
            metadata = file.schema_arrow.metadata
        name = metadata[_NAME].decode()
        path = inside(directory.parent if "/" in name else directory, name)
        found, expected = path.stat(), int(metadata[_SIZE])
    except (OSError, DatasetError, KeyError, TypeError, ValueError) as e:
        raise DatasetError(f"{index} or its tokens cannot be read ({e}); tokenize again") from e
    if found is None:
        raise DatasetError(f"{index} or its tokens cannot be read ({path} does not exist); tokenize again")
    if found.size != expected:
        raise DatasetError(f"{path} has {found.size} bytes, its index says {expected}; tokenize again")
    return path


def one_of_each_item(rows: pa.Table) -> pa.Table:
    """Return the first row of each item; an item with several clips has one row per clip."""
    items = pa.table({"item": items_of(rows["document_id"]), "row": pa.array(np.arange(len(rows)))})
    first = items.group_by("item").aggregate([("row", "min")])["row_min"]
    is_first = np.zeros(len(rows), bool)
    is_first[first.to_numpy()] = True
    return rows.filter(pa.array(is_first))


class Tokens(Protocol):
    """The part of a token store that packing needs."""

    def read(self, unit: int, batch: int, row: int, start: int = 0, length: int | None = None) -> NDArray[Any]:
        """Return tokens of a document; raises DatasetError if they do not exist."""
        ...


class TokenStore:
    """A directory of units, open for reading. Safe to use from several threads; not pickled."""

    def __init__(self, directory: Location) -> None:
        self._directory = directory
        self._open = functools.lru_cache(maxsize=_OPEN_FILES)(self._open_unit)
        batches = _OPEN_BATCHES if directory.is_local else _REMOTE_BATCHES
        self._batch = functools.lru_cache(maxsize=batches)(self._open_batch)

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the index rows of all units, including those of rejected documents: all columns or some."""
        empty = TOKENS.empty_table()
        tables = [read_rows(path, TOKENS, columns) for path in unit_files(self._directory)]
        return pa.concat_tables([empty.select(columns) if columns else empty, *tables])

    def table(self) -> pa.Table:
        """Return the index rows of the documents that have tokens, sorted by split, kind and document."""
        rows = self.rows()
        order = [("split", "ascending"), ("kind", "ascending"), ("document_id", "ascending")]
        return rows.filter(pc.is_null(rows["reason"])).sort_by(order)

    def read(self, unit: int, batch: int, row: int, start: int = 0, length: int | None = None) -> NDArray[Any]:
        """Return tokens [start, start + length) of a document: a view of the mapped file, not a copy.

        Raises DatasetError if the unit, the row or the range does not exist.
        """
        try:
            offsets, values = self._batch(unit, batch)
            if not 0 <= row < len(offsets) - 1:
                raise IndexError(f"row {row} of {len(offsets) - 1}")
        except (OSError, pa.ArrowException, IndexError, KeyError, ValueError) as e:
            where = self._directory / unit_name(unit)
            raise DatasetError(f"{where}: batch {batch}, row {row} cannot be read ({e}); tokenize again") from e
        first, end = int(offsets[row]), int(offsets[row + 1])
        length = end - first - start if length is None else length
        if start < 0 or length < 0 or first + start + length > end:
            where = self._directory / unit_name(unit)
            raise DatasetError(f"{where}: tokens {start}..{start + length} of a document of {end - first}")
        return values[first + start : first + start + length]

    def check(self, unit: int) -> Location:
        """Read a unit's Arrow file, compare it with the hash in its name, and return its path.

        Raises DatasetError if it is missing, truncated or altered.
        """
        path = _arrow_file(self._directory, unit)
        if path.name != (found := _arrow_name(path.name[: len(unit_name(0))], path)):
            raise DatasetError(
                f"{path} was altered: by its content it should be named {found}. "
                "Delete it and run `longreel tokenize`, which computes its documents again"
            )
        return path

    def _open_batch(self, unit: int, batch: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return a batch's offsets [rows + 1] and tokens, as views."""
        column = self._open(unit).get_batch(batch).column(0)
        return column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=True)

    def _open_unit(self, unit: int) -> Any:
        return pa.ipc.open_file(_opened(_arrow_file(self._directory, unit)))


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """Facts about a complete token store: `store.json`, written last."""

    units: tuple[int, ...]  # all of them, so that a lost one is detected
    vocabulary: Vocabulary
    frame_grid: tuple[int, int]
    frame_size: int
    frame_rate: float

    def to_json(self) -> str:
        """Return the facts as JSON with a checksum."""
        return json_with_checksum(asdict(self) | {"vocabulary": self.vocabulary.to_dict()})

    def with_units(self, units: tuple[int, ...]) -> StoreFacts:
        """Return the facts about the same documents in other units."""
        return dataclasses.replace(self, units=units)

    @classmethod
    def read(cls, directory: Location) -> StoreFacts:
        """Read the facts; raises DatasetError if tokenize has not completed."""
        try:
            values = read_json(directory / FACTS)
            values |= {name: tuple(values[name]) for name in ("units", "frame_grid")}
            return cls(**values | {"vocabulary": Vocabulary.from_dict(values["vocabulary"])})
        except FileNotFoundError as e:
            raise DatasetError(f"{directory} is incomplete: run `longreel tokenize` until it completes") from e
        except (DatasetError, ValueError, TypeError, KeyError) as e:
            raise DatasetError(f"{directory / FACTS} cannot be read: {e}; run `longreel tokenize` again") from e
