"""Reads manifest tables: Parquet, JSONL or CSV files with one item per row.

A JSONL or Parquet file with a column `text` and without a column `uri` is a table of texts: each row is a book (see
pipeline.sources.text_tables). Columns that are not columns of a manifest are stored in the metadata of the item. Such a
table is read once from beginning to end to list its rows; the text column of a Parquet file is not read.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.manifest_rows import parse_item
from pipeline.sources.text_tables import TEXT, byte_address, is_table_of_texts, row_address
from schemas.errors import ManifestError
from schemas.records import MANIFEST
from schemas.rows import ManifestItem

TABLES = (".parquet", ".jsonl", ".csv")

JsonRow = Mapping[str, Any]
"""A row as the user wrote it: JSON values by column, not yet checked."""


class ListedItem(NamedTuple):
    """An item and a description of where it is listed, for error messages."""

    source: str
    item: ManifestItem


def table_items(path: Path) -> Iterator[ListedItem]:
    """Yield the items of a manifest table or a table of texts. Relative paths are relative to the folder of the table.

    Raises ManifestError for a file that cannot be read and for an invalid row.
    """
    for number, (uri, values) in enumerate(_addressed_rows(path), start=1):
        source = f"{path}, row {number}"
        row = values if uri is None else _book_row(values, uri, source)
        yield ListedItem(source, parse_item(row, source=source, base=path.parent))


def _addressed_rows(path: Path) -> Iterator[tuple[str | None, JsonRow]]:
    """Yield each row; of a table of texts with the URI of the row, else with None."""
    suffix = path.suffix.lower()
    table = os.path.abspath(path)  # noqa: PTH100 - keeps symlinks
    if suffix == ".csv":
        yield from ((None, values) for values in _csv_rows(path))
    elif suffix == ".jsonl":
        has_texts = is_table_of_texts(next((values for _, values in _jsonl_lines(path)), {}))
        for offset, values in _jsonl_lines(path):
            yield byte_address(table, offset) if has_texts else None, values
    else:
        has_texts = is_table_of_texts(_parquet_columns(path))
        for row, values in enumerate(_parquet_rows(path, without=TEXT if has_texts else None)):
            yield row_address(table, row) if has_texts else None, values


def _book_row(values: JsonRow, uri: str, source: str) -> JsonRow:
    """Return the manifest row for a row of a table of texts, without its text."""
    known = {name: values[name] for name in MANIFEST.names if name in values}
    others = {name: value for name, value in values.items() if name not in {*MANIFEST.names, TEXT}}
    if others and "metadata" not in known:
        known["metadata"] = json.dumps(others, sort_keys=True, default=str)
    if known.get("kind") not in (None, "book"):
        raise ManifestError(f"{source}, column 'kind': got {known['kind']!r}, expected 'book' for a row with a text")
    if "uri" in known:
        raise ManifestError(f"{source}: got a 'uri' in a table of texts; list files in another manifest")
    return {**known, "uri": uri, "kind": "book"}


def _parquet_columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as e:
        raise _unreadable_parquet(path, e) from e


def _parquet_rows(path: Path, *, without: str | None = None) -> Iterator[JsonRow]:
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name != without]
            if not names:  # without a column, iter_batches does not yield the number of rows
                yield from ({} for _ in range(file.metadata.num_rows))
                return
            for batch in file.iter_batches(columns=None if without is None else names):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as e:  # Arrow raises OSError for a damaged page
        raise _unreadable_parquet(path, e) from e


def _unreadable_parquet(path: Path, error: Exception) -> ManifestError:
    return ManifestError(f"{path} is not a readable Parquet file: {error}")


def _jsonl_lines(path: Path) -> Iterator[tuple[int, JsonRow]]:
    """Yield the offset in bytes and the values of each row. Blank lines are skipped."""
    end = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            start, end = end, end + len(line)
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as e:
                raise ManifestError(f"{path}, line {number}: invalid JSON ({e}); got {line[:80]!r}") from e
            if not isinstance(values, dict):
                raise ManifestError(f"{path}, line {number}: expected a JSON object, got {line[:80]!r}")
            yield start, values


def _csv_rows(path: Path) -> Iterator[JsonRow]:
    """Yield the rows of a CSV file; an empty field is null, and captions may be a JSON list of strings."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                if None in row:
                    raise ManifestError(f"{path}: a row has more fields than the header: {row[None]!r}")
                values: dict[str, Any] = {k: v or None for k, v in row.items()}
                if (values.get("captions") or "").startswith('["'):  # but "[music]" is a caption
                    values["captions"] = json.loads(values["captions"])
                yield values
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as e:
        raise ManifestError(f"{path} is not a readable CSV file: {e}") from e
