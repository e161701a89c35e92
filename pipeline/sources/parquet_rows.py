"""The rows of a Parquet file. A value that cannot be read, or a damaged row group, costs the rows that contain it.

A few bytes of a file can repeat a long value in every row, or declare a list of a billion values. So texts are read by
reference to the dictionary of their values, and rows become Python values only after what they will take is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.table_row import TableRow
from schemas.arrow_memory import memory_of
from schemas.errors import InputError, ManifestError, Reason
from schemas.parquet_pages import require_plausible_pages
from schemas.storage.regular import open_regular

_BATCH_ROWS = 1024
_MAX_BYTES = 256 << 20  # of the Python values of a batch, above which it is converted row by row, and of a row
_MAX_RATIO = 1000  # unpacked bytes of a column of a row group over packed bytes; 2 to 10 for text
_MAX_UNCHECKED_BYTES = 512 << 20  # smaller ones may have any ratio
# Arrow raises OSError for a damaged page; converting a value to Python raises ValueError for invalid UTF-8, and
# OverflowError or ValueError for a date that Python does not have.
_ERRORS = (OSError, pa.ArrowException, ValueError, OverflowError)


def parquet_columns(path: Path) -> list[str]:
    """Return the names of the columns. Raises ManifestError if the file cannot be read."""
    try:
        return list(pq.read_schema(path).names)
    except _ERRORS as e:
        raise _unreadable(path, e) from e


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    """Yield the rows of a file with these columns. Raises ManifestError if the file cannot be read."""
    try:
        file = pq.ParquetFile(path, read_dictionary=_texts(pq.read_metadata(path)))
    except _ERRORS as e:
        raise _unreadable(path, e) from e
    first = 0
    with file, open_regular(path) as stream:
        _require_plausible(path, file)
        for group in range(file.num_row_groups):
            yield from _group_rows(file, stream, group, columns, first)
            first += file.metadata.row_group(group).num_rows


def _texts(metadata: pq.FileMetaData) -> list[str]:
    """Return the paths of all columns of texts or bytes, also those within lists and structs."""
    columns = (metadata.schema.column(i) for i in range(metadata.num_columns))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _require_plausible(path: Path, file: pq.ParquetFile) -> None:
    """Raise ManifestError if a file cannot hold what it declares, or unpacks to much more than it has.

    Each declared row is an item, and each value of a list takes memory.
    """
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    columns = [[group.column(i) for i in range(group.num_columns)] for group in groups]
    rows, size = [group.num_rows for group in groups], path.stat().st_size
    values = [max((column.num_values for column in some), default=0) for some in columns]
    if min(rows, default=0) < 0 or sum(rows) > 8 * size:
        raise ManifestError(f"{path} is damaged: it declares row groups of {rows[:3]} rows, but has {size:,} bytes")
    if max(values, default=0) > max(8 * size, _MAX_BYTES):
        raise ManifestError(f"{path} declares a column of {max(values):,} values, but has {size:,} bytes")
    for column in (column for some in columns for column in some):
        packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
        if unpacked > max(_MAX_UNCHECKED_BYTES, _MAX_RATIO * packed):
            raise ManifestError(
                f"{path}: the column {column.path_in_schema!r} unpacks from {packed:,} to {unpacked:,} bytes, more "
                f"than {_MAX_RATIO:,} times as much: a decompression bomb"
            )


def _group_rows(
    file: pq.ParquetFile, stream: BinaryIO, group: int, columns: Sequence[str], first: int
) -> Iterator[TableRow]:
    end = first + file.metadata.row_group(group).num_rows
    if not columns:  # without a column, iter_batches does not yield the number of rows
        yield from (TableRow(at, at + 1, {}) for at in range(first, end))
        return
    at, error = first, "it has fewer rows than it declares"
    try:
        require_plausible_pages(stream, file.metadata.row_group(group), columns)
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=list(columns)):
            for row in _batch_rows(batch, at):
                yield row
                at += 1
    except _ERRORS as e:
        error = str(e)
    for lost in range(at, end):
        message = f"row group {group} of the file is damaged: {error}"
        yield TableRow(lost, lost + 1, {}, InputError(Reason.UNREADABLE, message))


def _batch_rows(batch: pa.RecordBatch, first: int) -> Iterator[TableRow]:
    if memory_of(batch.columns) <= _MAX_BYTES:
        try:
            rows = batch.to_pylist()
        except _ERRORS:
            pass
        else:
            yield from (TableRow(at, at + 1, values) for at, values in enumerate(rows, start=first))
            return
    yield from (_row(batch.slice(i, 1), first + i) for i in range(len(batch)))


def _row(batch: pa.RecordBatch, at: int) -> TableRow:
    """Return the row of a batch with a single one."""
    if (size := memory_of(batch.columns)) > _MAX_BYTES:
        message = f"the row takes {size:,} bytes of memory, the limit is {_MAX_BYTES:,}"
        return TableRow(at, at + 1, {}, InputError(Reason.TOO_LARGE, message))
    values = {}
    error = None
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[0].as_py()
        except _ERRORS as e:
            what = "is not valid UTF-8" if isinstance(e, UnicodeDecodeError) else "cannot be read"
            error = error or InputError(Reason.INVALID_ROW, f"column {name!r} {what}: {e}")
    return TableRow(at, at + 1, values, error)


def _unreadable(path: Path, error: Exception) -> ManifestError:
    return ManifestError(f"{path} is not a readable Parquet file: {error}")
