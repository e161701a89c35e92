"""The documents of a token store, in the order in which they are packed."""

from __future__ import annotations

import pyarrow as pa

from pipeline.packing.chunks import documents_of
from schemas.fingerprint import bucket, fingerprint
from schemas.records import TOKENS, clip_id, item_of
from tests.support.token_stores import video


def test_the_order_of_documents_does_not_depend_on_the_number_of_units() -> None:
    rows = []
    for item in (fingerprint(n) for n in range(12)):
        rows += [video(item, [2]).row() | {"document_id": clip_id(item, number)} for number in range(4)]
    orders = []
    for units in (1, 3, 7):
        by_unit = [[r for r in rows if bucket(item_of(r["document_id"]), units) == unit] for unit in range(units)]
        tables = [documents_of(pa.Table.from_pylist(some, TOKENS)).table for some in by_unit]
        orders.append(pa.concat_tables(tables)["document_id"].to_pylist())
    assert orders[0] == orders[1] == orders[2]
    assert [name[64:] for name in orders[0]] == [f"#0000{number}" for number in range(4)] * 12
