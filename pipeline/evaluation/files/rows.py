"""Rows of questions, from JSON lines, JSON or Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.sources.jsonl_rows import jsonl_rows
from pipeline.sources.parquet_rows import parquet_columns, parquet_rows
from schemas.errors import ConfigError, InputError, ManifestError
from schemas.json_values import load_json
from schemas.printable import printable
from schemas.storage.regular import open_regular, require_regular

Row = Mapping[str, Any]
_MAX_BYTES = 512 << 20  # of a .json file


def read_rows(path: Path, needed: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a file with the values that are `needed`.

    Raises ConfigError, with the number of the row, if the file cannot be read or a value is missing.
    """
    for number, row in enumerate(_parsed(path), 1):
        missing = [name for name in needed if not isinstance(row, dict) or row.get(name) is None]
        if missing:
            raise ConfigError(f"row {number} of {path} has no {', '.join(missing)}: is it a file of this suite?")
        yield row


def _parsed(path: Path) -> Iterator[Any]:
    try:
        require_regular(path)
        if path.suffix == ".json":
            yield from _document(path)
        else:
            yield from _rows(path)
    except (OSError, ValueError, RecursionError, InputError, ManifestError) as e:
        raise ConfigError(printable(f"{path} cannot be read: {e}")) from e


def _document(path: Path) -> list[Any]:
    with open_regular(path) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
    values = load_json(data.decode("utf-8-sig"))
    return values if isinstance(values, list) else [values]


def _rows(path: Path) -> Iterator[Row]:
    for row in parquet_rows(path, parquet_columns(path)) if path.suffix == ".parquet" else jsonl_rows(path):
        if row.error is not None:
            raise row.error
        yield row.values
