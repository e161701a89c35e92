"""Tables of all items in memory: with 64-bit offsets, and as rows only a batch at a time.

A column of strings with 32-bit offsets holds 2 GB, the addresses of some twenty million items, and Arrow raises an
error when it has to join more, to sort them for example. One row as a Python object takes ten times its bytes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa

Row = TypeVar("Row")
BATCH_ROWS = 8192


def large_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with 64-bit offsets for its strings and lists."""
    return pa.schema([field.with_type(_large(field.type)) for field in schema])


def _large(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind):
        return pa.large_string()
    if pa.types.is_binary(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.large_list(_large(kind.value_type))
    return kind


def as_large(table: pa.Table) -> pa.Table:
    """Return a table with 64-bit offsets."""
    return table.cast(large_schema(table.schema))


def taken(table: pa.Table, rows: pa.Array) -> pa.Table:
    """Return these rows of a table with 64-bit offsets, in this order."""
    return table.combine_chunks().take(rows)


def collected(rows: Iterable[Row], to_table: Callable[[list[Row]], pa.Table], schema: pa.Schema) -> pa.Table:
    """Return rows as a table of `schema`, of which `to_table` converts some at a time; offsets become 64-bit."""
    rows, large = iter(rows), large_schema(schema)
    batches = (to_table(some).cast(large) for some in iter(lambda: list(islice(rows, BATCH_ROWS)), []))
    return pa.concat_tables([large.empty_table(), *batches])


def values_of(column: pa.ChunkedArray) -> Iterator[Any]:
    """Yield the values of a column, of which a batch is converted at a time."""
    for batch in in_batches(pa.table({"values": column})):
        yield from batch["values"].to_pylist()


def in_batches(table: pa.Table) -> Iterator[pa.Table]:
    """Yield a table in parts of at most `BATCH_ROWS` rows."""
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield pa.Table.from_batches([batch])
