from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.packing.chunks import documents_of, ranks, split_chunks
from schemas.errors import DatasetError
from schemas.fingerprint import bucket, fingerprint
from schemas.records import TOKENS, clip_id, item_of
from schemas.vocab import TEXT
from tests.support.packing.local_packing import CONTEXT, make_jobs
from tests.support.packing.packing_cases import (
    tables_of,
)
from tests.support.token_stores import FRAME, StoredDocument, book, video


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "no document to pack"),
        ([StoredDocument("a", "book", [(TEXT, np.ones(0), None, None)], facts={"spans": []})], "pack: 1 empty"),
        ([book("a", 9), book("a", 9)], "in the token store twice"),
        ([StoredDocument("a", "song", [(TEXT, np.ones(3), None, None)])], "the kind 'song'"),
        ([StoredDocument("a", "book", [(TEXT, np.ones(3), None, None)], facts={"length": 4})], "do not cover its 4"),
        ([video("a", [20], frame=5), StoredDocument("b", "book", [], facts={"length": 4})], "do not cover its 4"),
    ],
)
def test_invalid_index_rows_raise(documents: list[StoredDocument], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make_jobs([pa.Table.from_pylist([d.row() for d in documents], TOKENS)])


def test_documents_are_sorted_by_item_hash_and_those_without_tokens_are_dropped() -> None:
    documents = [book(f"book {i}", 9) for i in range(20)]
    rows = [d.row() for d in documents]
    rows[3]["reason"] = "corrupt"
    found = documents_of(pa.Table.from_pylist(rows, TOKENS))
    assert set(found.table["document_id"].to_pylist()) == {d.id for d in documents} - {documents[3].id}
    again = documents_of(pa.Table.from_pylist(rows[::-1], TOKENS))
    assert again.table.equals(found.table)
    assert np.array_equal(again.draw, found.draw)


def test_long_videos_are_split_into_items_and_books_are_texts() -> None:
    documents = documents_of(tables_of([video("long", [30]), video("short", [2]), book("book", 150)], units=1)[0])
    items, texts = split_chunks(documents, "train", np.full(3, 2), context_length=CONTEXT)
    ids = np.array(documents.table["document_id"].to_pylist())
    assert texts.length.tolist() == [150, 150]
    assert texts.copy.tolist() == [0, 1]
    long = ids[items.document] == video("long", [30]).id
    assert items.length[~long].tolist() == [len(video("short", [2]).tokens)] * 2
    assert items.length[long].sum() == 2 * len(video("long", [30]).tokens)
    assert items.length.max() <= CONTEXT
    assert FRAME in items.unsplittable


def test_ranks_number_equal_lengths() -> None:
    assert ranks(np.array([5, 7, 5, 5, 7])).tolist() == [0, 0, 1, 2, 1]
    assert ranks(np.zeros(0, np.int64)).size == 0


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
