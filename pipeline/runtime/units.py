"""TODO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DatasetError


def unit_name(unit: int) -> str:
    """Return the stem of a unit's files."""
    return f"unit-{unit:05d}"


def unit_number(path: Path) -> int:
    """Return the unit that an index file belongs to; the inverse of `unit_name`."""
    return int(path.stem.split("-")[1])


def unit_files(directory: Path) -> list[Path]:
    """Return the committed index files of a directory of units, in order."""
    return sorted(directory.glob("unit-?????.parquet"))


def read_rows(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file of one of our schemas, all columns or some.

    Raises DatasetError where it is absent, damaged, or another's.
    """
    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.equals(schema):
                table = file.read(columns).replace_schema_metadata(None)
                return table.select(columns) if columns else table  # the file has them in its own order
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{path} cannot be read ({e}); run the job that makes it again") from e
    raise DatasetError(f"{path} was written by another version; run the job that makes it again")
