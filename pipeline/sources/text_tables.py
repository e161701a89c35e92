"""Tables of texts: .jsonl and .parquet files of which each row is a book.

A table with a column `text` and without `uri` is one. In the manifest each of its rows is an item of its own, with an
address that leads straight to it: `books.jsonl#byte=8812` for the line that begins at that byte,
`books.parquet#row=00000017` for a row. The text is handed on as a file, so that a row is read, hashed and resumed as
every other book; its identity is its text's hash. Rows of a Parquet file are read one after the other, so those of a
unit of work, which come sorted, cost one pass over the row groups that they lie in; one text is in memory at a time.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import InputError, Reason

TEXT = "text"
_BLOCK_BYTES = 1 << 18
_ADDRESS = re.compile(r"(?P<table>.+\.(?:jsonl|parquet))#(?P<unit>row|byte)=(?P<at>\d{1,15})", re.I | re.S)


class Place(NamedTuple):
    """Where one text stands."""

    table: str  # path or address
    unit: str  # byte or row
    at: int


def place_of(uri: str) -> Place | None:
    """Return the place that an address of a row names; None for the address of a file."""
    match = _ADDRESS.fullmatch(uri)
    return Place(match["table"], match["unit"], int(match["at"])) if match else None


def byte_address(table: str, offset: int) -> str:
    """Return the address of the line of a .jsonl table that begins at `offset`; sorted, they are in its order."""
    return f"{table}#byte={offset:012d}"


def row_address(table: str, row: int) -> str:
    """Return the address of a row, from 0, of a .parquet table; sorted, they are in its order."""
    return f"{table}#row={row:08d}"


def is_table_of_texts(names: Any) -> bool:
    """Tell by its column names whether each row of a table is a text."""
    return TEXT in names and "uri" not in names


def read_text(place: Place, max_bytes: int, version: str = "") -> str:
    """Return one text; `version` tells whether the table is still the one that the row before was read from.

    Raises InputError: MISSING where there is no such row (any more), TOO_LARGE, UNREADABLE for what is no row with a
    text.
    """
    try:
        text = _line_text(place, max_bytes) if place.unit == "byte" else _row_text(place, version)
    except (OSError, pa.ArrowException, ImportError) as e:
        raise InputError(Reason.MISSING, f"{place.table} cannot be read: {e}") from e
    if not isinstance(text, str):
        kind = type(text).__name__
        raise InputError(Reason.UNREADABLE, f"the row's column {TEXT!r} must be a string, got {kind}")
    if len(text) > max_bytes:  # a character has a byte at least
        raise InputError(Reason.TOO_LARGE, f"the text has {len(text):,} characters, the limit is {max_bytes:,} bytes")
    return text


def _line_text(place: Place, max_bytes: int) -> Any:
    most = 6 * max_bytes + (1 << 16)  # JSON may spell a byte in six, and the row has other columns
    with fsspec.open(place.table, "rb") as stream:
        line = _line_at(stream, place.at, most)
    if len(line) > most:
        raise InputError(Reason.TOO_LARGE, f"the row has more than {most:,} bytes")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise InputError(Reason.UNREADABLE, f"no row begins at byte {place.at:,} of {place.table}: {e}") from e
    return row.get(TEXT) if isinstance(row, dict) else None


def _line_at(stream: BinaryIO, offset: int, most: int) -> bytes:
    stream.seek(offset)
    parts: list[bytes] = []
    size = 0
    while size <= most and (block := stream.read(_BLOCK_BYTES)):  # a remote file's readline knows no limit
        line, newline, _ = block.partition(b"\n")
        parts.append(line)
        size += len(line)
        if newline:
            break
    return b"".join(parts)


class _Cursor(threading.local):
    """Where this thread stands in which Parquet file: rows that come in order are read in one pass."""

    key: tuple[Any, ...] = ()
    row: int = 0
    rest: Iterator[Any] = iter(())


_cursor = _Cursor()


def _row_text(place: Place, version: str) -> Any:
    with fsspec.open(place.table, "rb") as stream, pq.ParquetFile(stream) as file:
        group, first = _row_group(file, place.at)
    if group is None:
        raise InputError(Reason.MISSING, f"{place.table} has no row {place.at:,}")
    key = (place.table, version, group)
    if _cursor.key != key or _cursor.row > place.at:
        _cursor.key, _cursor.row, _cursor.rest = key, first, _texts(place.table, group)
    text = None
    while _cursor.row <= place.at:
        text = next(_cursor.rest, None)
        _cursor.row += 1
    return text


def _row_group(file: pq.ParquetFile, row: int) -> tuple[int | None, int]:
    first = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if row < first + count:
            return group, first
        first += count
    return None, first


def _texts(table: str, group: int) -> Iterator[Any]:
    """Yield the texts of a row group; the file is open while that goes on."""
    with fsspec.open(table, "rb") as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(batch_size=1, row_groups=[group], columns=[TEXT]):
            yield from batch.column(0).to_pylist()
