"""Tables of all items in memory."""

from __future__ import annotations

import pyarrow as pa

from schemas.large_tables import BATCH_ROWS, as_large, collected, in_batches, large_schema, taken, values_of
from schemas.rows import ManifestItem, manifest_items, manifest_table

SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), ("names", pa.list_(pa.string())), ("n", pa.int32())])


def test_strings_and_lists_have_64_bit_offsets_and_other_columns_stay() -> None:
    large = large_schema(SCHEMA.append(pa.field("bytes", pa.binary())))
    assert large.types == [pa.large_string(), pa.large_list(pa.large_string()), pa.int32(), pa.large_binary()]
    assert [field.nullable for field in large] == [False, True, True, True]


def test_rows_are_collected_in_batches_and_come_back_in_batches() -> None:
    count = 2 * BATCH_ROWS + 3
    sizes: list[int] = []

    def to_table(rows: list[int]) -> pa.Table:
        sizes.append(len(rows))
        return pa.table({"name": [str(row) for row in rows], "names": [None] * len(rows), "n": rows}, SCHEMA)

    table = collected(range(count), to_table, SCHEMA)
    assert sizes == [BATCH_ROWS, BATCH_ROWS, 3]
    assert list(values_of(table["n"])) == list(range(count))
    assert sum(len(batch) for batch in in_batches(table)) == count
    assert collected([], to_table, SCHEMA).schema == large_schema(SCHEMA)


def test_items_are_the_same_from_a_table_with_large_offsets() -> None:
    items = [ManifestItem(uri=f"/{n}", kind="book", captions=("a", "b")[: n % 3]) for n in range(5)]
    table = as_large(manifest_table(items))
    assert manifest_items(table) == items
    assert manifest_items(taken(table, pa.array([3, 1]))) == [items[3], items[1]]
