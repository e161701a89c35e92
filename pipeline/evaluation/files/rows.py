"""Rows of questions, from JSON lines, JSON or Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.sources.parquet_rows import parquet_columns, parquet_rows
from schemas.errors import ConfigError, InputError, ManifestError
from schemas.printable import printable
from schemas.storage.regular import open_regular

Row = Mapping[str, Any]


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
        if path.suffix == ".parquet":
            yield from _parquet(path)
            return
        with open_regular(path) as file:
            if path.suffix == ".json":
                values = json.load(file)
                yield from values if isinstance(values, list) else [values]
            else:
                yield from (json.loads(line) for line in file if line.strip())
    except (OSError, ValueError, RecursionError, InputError, ManifestError) as e:
        raise ConfigError(printable(f"{path} cannot be read: {e}")) from e


def _parquet(path: Path) -> Iterator[Row]:
    for row in parquet_rows(path, parquet_columns(path)):
        if row.error is not None:
            raise row.error
        yield row.values
