"""Tables of texts: .jsonl and .parquet files in which each row is a book.

A table with a column `text` and without a column `uri` is a table of texts. Each row is an item of the manifest, with
a URI that locates it directly: `books.jsonl#byte=8812` for the line that starts at that byte,
`books.parquet#row=00000017` for a row. The text is passed on as a file, so that a row is read, hashed and resumed
like any other book; the hash of its text identifies it. The rows of a unit of work are sorted, so reading them from a
Parquet file takes one pass over their row groups. One text is in memory at a time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.os_errors import reason_of
from schemas.errors import InputError, Reason
from schemas.json_values import load_json
from schemas.parquet_pages import require_plausible_pages

TEXT = "text"
_BLOCK_BYTES = 1 << 18
_ROW_URI = re.compile(r"(?P<table>.+\.(?:jsonl|parquet))#(?P<unit>row|byte)=(?P<at>\d{1,15})", re.I | re.S)


class RowUri(NamedTuple):
    """The position of a row in a table of texts."""

    table: str  # path or URI
    unit: str  # "byte" or "row"
    offset: int  # of that unit


def parse_row_uri(uri: str) -> RowUri | None:
    """Return the row that a URI locates; None for the URI of a file."""
    match = _ROW_URI.fullmatch(uri)
    return RowUri(match["table"], match["unit"], int(match["at"])) if match else None


def byte_address(table: str, offset: int) -> str:
    """Return the URI of the line of a .jsonl table that starts at byte `offset`. URIs sort in the order of lines."""
    return f"{table}#byte={offset:012d}"


def row_address(table: str, row: int) -> str:
    """Return the URI of a row of a .parquet table, counted from 0. URIs sort in the order of rows."""
    return f"{table}#row={row:08d}"


def is_table_of_texts(names: Any) -> bool:
    """Whether a table with these column names is a table of texts."""
    return TEXT in names and "uri" not in names


def read_text(row_uri: RowUri, max_bytes: int, version: str = "", access: AccessConfig = STRICT) -> str:
    """Return the text of a row. `version` identifies the table's content, so that a changed table is opened again.

    Raises InputError: MISSING if there is no such row, TOO_LARGE, NOT_TEXT for a text that is not valid UTF-8,
    UNREADABLE for a row without a text or with damage.
    """
    is_line = row_uri.unit == "byte"
    try:
        text = _line_text(row_uri, max_bytes, access) if is_line else _row_text(row_uri, max_bytes, version, access)
    except OSError as e:
        raise InputError(reason_of(e), f"{row_uri.table}: cannot be read: {e}") from e
    except pa.ArrowException as e:
        raise InputError(Reason.UNREADABLE, f"{row_uri.table}: cannot be read: {e}") from e
    except UnicodeDecodeError as e:
        raise InputError(Reason.NOT_TEXT, f"column {TEXT!r} of the row is not valid UTF-8: {e}") from e
    if not isinstance(text, str):
        kind = type(text).__name__
        raise InputError(Reason.UNREADABLE, f"column {TEXT!r} of the row must be a string, got {kind}")
    if len(text) > max_bytes:  # a character has at least one byte
        raise _too_long(f"{len(text):,} characters", max_bytes)
    return text


def _too_long(size: str, max_bytes: int) -> InputError:
    return InputError(Reason.TOO_LARGE, f"the text has {size}, the limit is {max_bytes:,} bytes")


def _line_text(row_uri: RowUri, max_bytes: int, access: AccessConfig) -> Any:
    most = 3 * max_bytes + (1 << 16)  # JSON can write two bytes, such as those of a Cyrillic letter, in six
    with _opened(row_uri.table, access) as stream:
        line = _line_at(stream, row_uri.offset, most)
    if len(line) > most:
        raise InputError(
            Reason.TOO_LARGE, f"the row has more than {most:,} bytes, the limit for a text of {max_bytes:,} bytes"
        )
    try:
        row = load_json(line.rstrip(b"\0").decode("utf-8-sig"))
    except (ValueError, RecursionError) as e:
        raise InputError(Reason.UNREADABLE, f"{row_uri.table}: no row starts at byte {row_uri.offset:,}: {e}") from e
    return row.get(TEXT) if isinstance(row, dict) else None


def _line_at(stream: BinaryIO, offset: int, most: int) -> bytes:
    stream.seek(offset)
    parts: list[bytes] = []
    size = 0
    while size <= most and (block := stream.read(_BLOCK_BYTES)):  # readline of a remote file has no limit
        line, newline, _ = block.partition(b"\n")
        parts.append(line)
        size += len(line)
        if newline:
            break
    return b"".join(parts)


@contextmanager
def _opened(table: str, access: AccessConfig) -> Iterator[BinaryIO]:
    if "://" not in table:
        with Path(table).open("rb") as stream:
            yield stream
        return
    from pipeline.sources.remote import open_remote  # imports aiohttp, which takes longer than most of the rest

    with open_remote(table, access) as stream:
        yield stream


class _Cursor(threading.local):
    """The position of a thread in a Parquet file, so that rows in ascending order are read in one pass."""

    key: tuple[Any, ...] = ()
    row: int = 0
    texts: Iterator[Any] = iter(())
    damage: InputError | None = None  # at `row`, beyond which the row group cannot be read


_cursor = _Cursor()


def _row_text(row_uri: RowUri, max_bytes: int, version: str, access: AccessConfig) -> Any:
    with _opened(row_uri.table, access) as stream, pq.ParquetFile(stream) as file:
        group, first = _row_group(file, row_uri.offset)
    if group is None:
        raise InputError(Reason.MISSING, f"{row_uri.table} has no row {row_uri.offset:,}")
    key = (row_uri.table, version, group)
    if _cursor.key != key or _cursor.row > row_uri.offset:
        _cursor.key, _cursor.row, _cursor.damage = key, first, None
        _cursor.texts = _texts(row_uri.table, group, access)
    text = None
    while _cursor.row <= row_uri.offset:
        text = _next_text(group)
        _cursor.row += 1
    if not isinstance(text, pa.Buffer):
        return text
    if text.size > 4 * max_bytes:  # a character has at most four bytes
        raise _too_long(f"{text.size:,} bytes", max_bytes)
    return str(text, "utf-8")


def _next_text(group: int) -> Any:
    if _cursor.damage is None:
        try:
            return next(_cursor.texts)
        except StopIteration:
            message = f"row group {group} of the table is damaged: it has fewer rows than it declares"
            _cursor.damage = InputError(Reason.UNREADABLE, message)
        except InputError:  # of a remote table
            _cursor.key = ()  # the next row opens the table again
            raise
        except (OSError, pa.ArrowException) as e:
            if isinstance(e, OSError) and reason_of(e) is not Reason.UNREADABLE:
                _cursor.key = ()
                raise
            _cursor.damage = InputError(Reason.UNREADABLE, f"row group {group} of the table is damaged: {e}")
    raise _cursor.damage


def _row_group(file: pq.ParquetFile, row: int) -> tuple[int | None, int]:
    first = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if row < first + count:
            return group, first
        first += count
    return None, first


def _texts(table: str, group: int, access: AccessConfig) -> Iterator[Any]:
    """Yield the texts of a row group; the file stays open until the last one. Strings are yielded as buffers.

    Converting a string that is not UTF-8 would end the iteration before the rows that follow, and one that is too long
    is not converted at all.
    """
    with _opened(table, access) as stream, pq.ParquetFile(stream) as file:
        require_plausible_pages(stream, file.metadata.row_group(group), [TEXT])
        for batch in file.iter_batches(batch_size=1, row_groups=[group], columns=[TEXT]):
            column = batch.column(0)
            if isinstance(column, pa.DictionaryArray):
                column = column.dictionary_decode()
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            yield from (value.as_buffer() if is_text and value.is_valid else value.as_py() for value in column)
