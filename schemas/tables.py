"""Parquet files with a checksum of all their bytes, in the metadata of the footer.

Parquet's own page checksums leave page headers, statistics and the footer unprotected. The value of the metadata key
`longreel.checksum` is the XXH3-128 of the file in which this value is 32 zeros. A file stays a plain Parquet file for
other readers. Reading costs one more pass over the file, at the speed of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.checksums import PLACEHOLDER, checksum_in_place
from schemas.errors import DatasetError
from schemas.files import atomic
from schemas.storage.location import Location, located
from schemas.storage.regular import require_regular
from schemas.storage.store import Stat

_KEY = b"longreel.checksum"
_FIELD = _KEY + b"\x18\x20"  # in Thrift's compact protocol the value, a string of 32 bytes, follows the key
_END_BYTES = 8
_MEMORY_BYTES = 64 << 20
_matched: dict[Location, Stat | None] = {}  # versions of files whose checksum matched when `read_part` read them first


@contextmanager
def table_writer(
    path: Location | Path, schema: pa.Schema, *, compression: str = "snappy"
) -> Iterator[pq.ParquetWriter]:
    """Yield a writer of a Parquet file; on success, add the checksum and replace `path` atomically."""
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, schema, compression=compression) as writer:
            yield writer
            writer.add_key_value_metadata({_KEY: PLACEHOLDER})
        _write_checksum(temporary)


def write_table(path: Location | Path, table: pa.Table, *, row_group_size: int | None = None) -> None:
    """Write a table as Parquet with a checksum, atomically; metadata of its schema is stored, too."""
    with table_writer(path, table.schema) as writer:
        writer.write_table(table, row_group_size)


@contextmanager
def open_table(path: Location | Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file whose checksum matches.

    Raises DatasetError if it is missing, damaged or without a checksum, or if it cannot be read in the body.
    """
    with _checked(path) as file:
        yield pq.ParquetFile(file)


def read_table(path: Location | Path, columns: Sequence[str] | None = None, *, filters: Any = None) -> pa.Table:
    """Read a Parquet file, all columns or some, all rows or those that match `filters` (see `pyarrow.parquet`).

    Raises DatasetError as `open_table` does, and if a column does not exist.
    """
    with _checked(path) as file:
        return pq.read_table(file, columns=None if columns is None else list(columns), filters=filters)


def read_part(path: Location | Path, columns: Sequence[str] | None = None, *, filters: Any) -> pa.Table:
    """Read the rows of a Parquet file that match `filters`, without the row groups that have none of them.

    The checksum is compared once per process and version of the file, so that reading all parts of a file in turn costs
    one pass over it. Raises DatasetError as `read_table` does.
    """
    place = located(path)
    found = place.stat()
    if _matched.get(place) != found:
        check_table(place)
        _matched[place] = found
    try:
        return pq.read_table(place.local(), columns=None if columns is None else list(columns), filters=filters)
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{path} cannot be read ({e})") from e


def check_table(path: Location | Path) -> None:
    """Raise DatasetError if a Parquet file is missing, damaged or without a checksum."""
    with _checked(path):
        pass


@contextmanager
def _checked(path: Location | Path) -> Iterator[pa.NativeFile]:
    try:
        with _opened(located(path)) as file:
            _check(file, path)
            yield file
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{path} cannot be read ({e})") from e


def _opened(path: Location) -> pa.NativeFile:
    """Open a file, which is read twice: a small object of a store is kept in memory meanwhile, others in the cache."""
    if not path.is_local and ((found := path.stat()) is None or found.size <= _MEMORY_BYTES):
        return pa.BufferReader(path.read())
    require_regular(file := path.local())
    return pa.OSFile(str(file), "rb")


def _write_checksum(path: Path) -> None:
    with pa.OSFile(str(path), "rb") as file:
        at = _place(file)
        if at is None or file.read_at(len(PLACEHOLDER), at) != PLACEHOLDER:
            raise ValueError(f"{path} has no place for a checksum in its footer")
        digest = checksum_in_place(file, file.size(), at)
    with path.open("r+b") as writable:
        writable.seek(at)
        writable.write(digest)


def _check(file: pa.NativeFile, path: Location | Path) -> None:
    at = _place(file)
    if at is None:
        raise DatasetError(f"{path} cannot be read (it has no checksum: it is damaged, or another version wrote it)")
    if file.read_at(len(PLACEHOLDER), at) != checksum_in_place(file, file.size(), at):
        raise DatasetError(f"{path} cannot be read (it is damaged: its checksum does not match)")


def _place(file: pa.NativeFile) -> int | None:
    """Return the offset of the checksum's value; None if there is none, or the file does not end in a footer."""
    size = file.size()
    # A file ends in the footer, its length (4 bytes, little endian) and "PAR1".
    length = int.from_bytes(file.read_at(_END_BYTES, max(0, size - _END_BYTES))[:4], "little")
    if length + _END_BYTES > size:
        return None
    start = size - _END_BYTES - length
    found = file.read_at(length, start).rfind(_FIELD)
    return start + found + len(_FIELD) if found >= 0 else None
