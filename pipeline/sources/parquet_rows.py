"""The rows of a Parquet file. A value that cannot be read, or a damaged row group, costs the rows that contain it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.table_row import TableRow
from schemas.errors import InputError, ManifestError, Reason

_BATCH_ROWS = 1024  # a few bytes of a file can repeat a long value in every row, and a batch is in memory
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
        file = pq.ParquetFile(path)
    except _ERRORS as e:
        raise _unreadable(path, e) from e
    first = 0
    with file:
        _require_plausible(path, file)
        for group in range(file.num_row_groups):
            yield from _group_rows(file, group, columns, first)
            first += file.metadata.row_group(group).num_rows


def _require_plausible(path: Path, file: pq.ParquetFile) -> None:
    """Raise ManifestError if a file declares more rows than it has bits: each row that is missing would be an item."""
    counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    size = path.stat().st_size
    if min(counts, default=0) < 0 or sum(counts) > 8 * size:
        raise ManifestError(f"{path} is damaged: it declares row groups of {counts[:3]} rows, but has {size:,} bytes")


def _group_rows(file: pq.ParquetFile, group: int, columns: Sequence[str], first: int) -> Iterator[TableRow]:
    end = first + file.metadata.row_group(group).num_rows
    if not columns:  # without a column, iter_batches does not yield the number of rows
        yield from (TableRow(at, at + 1, {}) for at in range(first, end))
        return
    at, error = first, "it has fewer rows than it declares"
    try:
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
    try:
        rows = batch.to_pylist()
    except _ERRORS:
        yield from (_row(batch, i, first + i) for i in range(len(batch)))
    else:
        yield from (TableRow(at, at + 1, values) for at, values in enumerate(rows, start=first))


def _row(batch: pa.RecordBatch, index: int, at: int) -> TableRow:
    values = {}
    error = None
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[index].as_py()
        except _ERRORS as e:
            what = "is not valid UTF-8" if isinstance(e, UnicodeDecodeError) else "cannot be read"
            error = error or InputError(Reason.INVALID_ROW, f"column {name!r} {what}: {e}")
    return TableRow(at, at + 1, values, error)


def _unreadable(path: Path, error: Exception) -> ManifestError:
    return ManifestError(f"{path} is not a readable Parquet file: {error}")
