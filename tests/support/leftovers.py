"""Search of all files of a folder for bytes and text that must not be in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.storage.location import Location, located


def files_with(place: Location | Path, *needles: bytes, without: Iterable[str] = ()) -> list[str]:
    """Return the files that contain one of `needles`, as they are or as values of a Parquet table.

    Files below one of the folders `without` are not searched.
    """
    found, root = [], located(place).local()
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_file() and not any(name.startswith(f"{folder}/") for folder in without):
            data = path.read_bytes() + (_values(path) if path.suffix == ".parquet" else b"")
            if any(needle in data for needle in needles):
                found.append(name)
    return found


def _values(path: Path) -> bytes:
    """Return the values of a table, which its file has compressed."""
    table = pq.read_table(path)
    columns = [column for column in table.columns if not pa.types.is_binary(column.type)]
    return repr([column.to_pylist() for column in columns]).encode()
