"""Files of units: a unit is a part of the items, chosen by a hash of their identity, and one file per table.

A unit is one element of a Beam job and is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from schemas.errors import DatasetError
from schemas.storage.location import Location
from schemas.tables import open_table


def unit_name(unit: int) -> str:
    """Return the stem of a unit's files."""
    return f"unit-{unit:05d}"


def unit_number(path: Location) -> int:
    """Return the unit that a file belongs to; the inverse of `unit_name`."""
    return int(path.stem.split("-")[1])


def unit_files(directory: Location) -> list[Location]:
    """Return the Parquet files of a folder of units, in order; temporary files are not among them."""
    return directory.list("unit-?????.parquet")


def read_rows(path: Location, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file that has `schema`, all columns or those in `columns`.

    Raises DatasetError if it is missing, damaged, or has another schema.
    """
    try:
        with open_table(path) as file:
            if file.schema_arrow.equals(schema):
                table = file.read(columns).replace_schema_metadata(None)
                return table.select(columns) if columns else table  # the file keeps its own order
    except DatasetError as e:
        raise DatasetError(f"{e}; run the job that writes it again") from e
    raise DatasetError(f"{path} was written by another version; run the job that writes it again")
