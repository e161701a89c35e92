"""The tables that a manifest is read from: Parquet, JSONL or CSV, a row an item.

A JSONL or Parquet file with a column `text` and no `uri` is a table of books instead, each row one: see
pipeline.sources.text_tables. There, columns that a manifest does not have go into the item's metadata. Such a table
is read once from end to end to list its rows; of Parquet the texts are left alone.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.text_tables import TEXT, byte_address, is_table_of_texts, row_address
from schemas.errors import ManifestError
from schemas.records import MANIFEST

TABLES = (".parquet", ".jsonl", ".csv")


def table_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row of a manifest's table, or of a table of texts, and where it stands, in words.

    Raises ManifestError for a file that cannot be read.
    """
    readers = {".parquet": _parquet_rows, ".jsonl": _jsonl_rows, ".csv": _csv_rows}
    if path.suffix.lower() != ".csv" and is_table_of_texts(_columns(path)):
        yield from _text_rows(path)
        return
    for number, values in enumerate(readers[path.suffix.lower()](path), start=1):
        yield f"{path}, row {number}", values


def _columns(path: Path) -> list[str]:
    """Return a table's column names: of a .jsonl file those of its first row."""
    if path.suffix.lower() == ".jsonl":
        return list(next((values for _, values in _jsonl_lines(path)), ()))
    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as e:
        raise ManifestError(f"{path} is not a readable Parquet file: {e}") from e


def _text_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield an item for each row of a table of texts, without its text."""
    table = os.path.abspath(path)  # noqa: PTH100 - keeps symlinks
    if path.suffix.lower() == ".jsonl":
        rows = ((byte_address(table, offset), values) for offset, values in _jsonl_lines(path))
    else:
        rows = ((row_address(table, row), values) for row, values in enumerate(_parquet_rows(path, without=TEXT)))
    for number, (address, values) in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        known = {name: values[name] for name in MANIFEST.names if name in values}
        others = {name: value for name, value in values.items() if name not in {*MANIFEST.names, TEXT}}
        if others and "metadata" not in known:
            known["metadata"] = json.dumps(others, sort_keys=True, default=str)
        if known.get("kind") not in (None, "book"):
            raise ManifestError(f"{where}, column 'kind': got {known['kind']!r}; a row with a text is a book")
        if "uri" in known:
            raise ManifestError(f"{where}: a row has a text or an address ('uri'), not both")
        yield where, {**known, "uri": address, "kind": "book"}


def _parquet_rows(path: Path, *, without: str | None = None) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name != without]
            if not names:  # no column is left that would tell how many rows there are
                yield from ({} for _ in range(file.metadata.num_rows))
                return
            for batch in file.iter_batches(columns=None if without is None else names):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as e:  # Arrow raises OSError for a damaged page
        raise ManifestError(f"{path} is not a readable Parquet file: {e}") from e


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    return (values for _, values in _jsonl_lines(path))


def _jsonl_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row and the byte that it begins at."""
    end = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            start, end = end, end + len(line)
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as e:
                raise ManifestError(f"{path}, line {number}: not JSON ({e}); got {line[:80]!r}") from e
            if not isinstance(values, dict):
                raise ManifestError(f"{path}, line {number}: expected a JSON object, got {line[:80]!r}")
            yield start, values


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                if None in row:
                    raise ManifestError(f"{path}: a row has more fields than the header: {row[None]!r}")
                values: dict[str, Any] = {k: v or None for k, v in row.items()}
                if (values.get("captions") or "").startswith('["'):  # "[music]" is a caption
                    values["captions"] = json.loads(values["captions"])
                yield values
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as e:
        raise ManifestError(f"{path} is not a readable CSV file: {e}") from e
