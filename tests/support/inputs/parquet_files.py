"""Parquet files with faults: strings that are not UTF-8, damaged pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def not_utf8(values: Sequence[bytes | None], string: pa.DataType | None = None) -> pa.Array:
    """Return an array of strings with these bytes, which Arrow does not check."""
    string = string or pa.string()
    binary = pa.large_binary() if pa.types.is_large_string(string) else pa.binary()
    return pa.array(values, binary).view(string)


def damage_row_group(path: Path, group: int) -> None:
    """Overwrite the pages of all columns of a row group."""
    metadata = pq.read_metadata(path).row_group(group)
    data = bytearray(path.read_bytes())
    for index in range(metadata.num_columns):
        column = metadata.column(index)
        start = column.dictionary_page_offset or column.data_page_offset
        data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
