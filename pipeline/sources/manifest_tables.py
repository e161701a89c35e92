"""Reads manifest tables: Parquet, JSONL or CSV files with one item per row.

A JSONL or Parquet file with a column `text` and without a column `uri` is a table of texts: each row is a book (see
pipeline.sources.text_tables and text_rows). Such a table is read once from beginning to end to list its rows; the text
column of a Parquet file is not read.

A row that is invalid becomes an item with a reason, which the survey passes on as rejected. Its URI is that of the row,
if it has one, otherwise the address of the row in the table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.sources.csv_rows import csv_rows
from pipeline.sources.jsonl_rows import jsonl_rows
from pipeline.sources.listed_items import ListedItem
from pipeline.sources.manifest_rows import parse_item, rejected_item, require_known_columns
from pipeline.sources.parquet_rows import parquet_columns, parquet_rows
from pipeline.sources.table_row import TableRow
from pipeline.sources.text_rows import parse_text_row
from pipeline.sources.text_tables import TEXT, byte_address, is_table_of_texts, row_address
from schemas.errors import InputError, ManifestError
from schemas.storage.location import Location

TABLES = (".parquet", ".jsonl", ".csv")


class _Table(NamedTuple):
    """A table: its bytes in a local file, and how it is named."""

    file: Path
    suffix: str
    name: str  # for messages
    address: str
    folder: Path | Location  # relative addresses of its rows are relative to it

    @classmethod
    def of(cls, table: Path | Location) -> _Table:
        """Return a table in a file, or in a bucket, from which it is copied; raises FileNotFoundError."""
        if isinstance(table, Location):
            return cls(table.local(), table.suffix.lower(), str(table), str(table), table.parent)
        address = os.path.abspath(table)  # noqa: PTH100 - keeps symlinks
        return cls(table, table.suffix.lower(), str(table), address, table.parent)


def table_items(table: Path | Location) -> Iterator[ListedItem]:
    """Yield the items of a manifest table or a table of texts. Relative paths are relative to the folder of the table.

    Raises ManifestError for a file that cannot be read, or that has neither the column `uri` nor `text`.
    """
    try:
        found = _Table.of(table)
    except FileNotFoundError as e:
        raise ManifestError(f"{table}: no such manifest") from e
    try:
        yield from _items(found)
    except ManifestError as e:  # which names the copy
        raise ManifestError(str(e).replace(str(found.file), found.name)) from e


def _items(table: _Table) -> Iterator[ListedItem]:
    path = table.file
    if table.suffix == ".jsonl":
        has_texts = _has_texts(path)
        rows = jsonl_rows(path)
    elif table.suffix == ".csv":
        has_texts = False
        rows = _manifest_csv(path)
    else:
        columns = parquet_columns(path)
        has_texts = is_table_of_texts(columns)
        if not has_texts:
            _require_manifest(path, columns)
        rows = parquet_rows(path, [name for name in columns if not (has_texts and name == TEXT)])
    yield from (_listed(table, row, has_texts=has_texts) for row in rows)


def _listed(table: _Table, row: TableRow, *, has_texts: bool) -> ListedItem:
    is_jsonl = table.suffix == ".jsonl"
    source = f"{table.name}, {'line' if is_jsonl else 'row'} {row.number}"
    address = (byte_address if is_jsonl else row_address)(table.address, row.position)
    try:
        if row.error:
            raise row.error
        if has_texts:
            return ListedItem(source, parse_text_row(row.values, address))
        return ListedItem(source, parse_item(row.values, base=table.folder))
    except InputError as e:
        error = InputError(e.reason, f"{source}: {e}")
        rejected = rejected_item(row.values, error, base=table.folder, address=address, is_text=has_texts)
        return ListedItem(source, rejected)


def _has_texts(path: Path) -> bool:
    """Whether a .jsonl file is a table of texts: its first row with a `text` or a `uri` decides."""
    first = None
    for row in jsonl_rows(path):
        if row.values.keys() & {TEXT, "uri"}:
            return is_table_of_texts(row.values)
        first = first or row
    if first is None:
        return False
    problem = first.error or f"got the columns {', '.join(map(repr, first.values)) or 'of an empty object'}"
    raise ManifestError(f"{path}: no line is a JSON object with 'uri' or 'text'; line {first.number}: {problem}")


def _manifest_csv(path: Path) -> Iterator[TableRow]:
    for number, row in enumerate(csv_rows(path)):
        if not number and not row.error:
            _require_manifest(path, tuple(row.values))
        yield row


def _require_manifest(path: Path, columns: Sequence[str]) -> None:
    if "uri" not in columns:
        raise ManifestError(f"{path} has no column 'uri'; its columns are {', '.join(map(repr, columns))}")
    try:
        require_known_columns(columns)
    except InputError as e:
        raise ManifestError(f"{path}: {e}") from e
