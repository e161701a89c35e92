from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.verify.ledger_rows import Ledger
from pipeline.dataset.verify.verify import verify
from schemas.dataset import read_card
from schemas.dataset_files import sequence_key
from schemas.shards.sequence import read_sequence
from schemas.storage.location import located
from schemas.tables import write_table
from tests.support.datasets.altered_datasets import (
    KEY,
    named,
)
from tests.support.datasets.packed_datasets import reseal
from tests.support.stored_files import file_of, index_of

Rows = list[dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows, i: rows.pop(i), "the ledger has"),
        (lambda rows, i: rows.insert(i, rows[i]), "the ledger has"),
        (lambda rows, i: rows[i].update(weight=0.5), "the ledger's weight of span 0 is 0.5, expected 1.0"),
        (lambda rows, i: rows[i].update(length=1), "the ledger's length of span 0 is 1"),
        (lambda rows, i: rows[i].update(document_start=999), "the ledger's document_start of span 0 is 999"),
        (lambda rows, i: rows[i].update(document_id="f" * 64), "document ids differ from those in the json"),
        (lambda rows, i: rows[i].update(split="val"), "the ledger's split is not train"),
        (lambda rows, i: rows[i].update(kind="song"), "or a kind is not one of"),
        (lambda rows, i: rows[i].update(span=7), "the ledger's span of span 0 is 7"),
        (lambda rows, i: rows.insert(0, rows[i]), "its rows are not consecutive"),
        (lambda rows, i: rows[i].update(sequence="train-000000099"), "the ledger has"),
    ],
)
def test_a_ledger_that_differs_from_the_spans_is_reported(
    dataset: Path, change: Callable[[Rows, int], Any], what: str
) -> None:
    path = file_of(dataset, "documents.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows, next(i for i, row in enumerate(rows) if row["sequence"] == KEY))
    write_table(path, pa.Table.from_pylist(rows, table.schema))
    reseal(dataset)
    assert named(verify(dataset), "documents.parquet", KEY, what), verify(dataset).problems


def test_ledger_rows_of_unknown_shards_are_reported(dataset: Path) -> None:
    path = file_of(dataset, "documents.parquet")
    table = pq.read_table(path)
    more = table.slice(0, 1).set_column(1, table.schema.field(1), pa.array(["train-000009-of-000009.tar"]))
    write_table(path, pa.concat_tables([table, more]))
    reseal(dataset)
    assert named(verify(dataset), "documents.parquet", "", "rows of shards that the index does not list")


def test_a_ledger_without_a_column_is_reported(dataset: Path) -> None:
    path = file_of(dataset, "documents.parquet")
    write_table(path, pq.read_table(path).drop_columns("license"))
    reseal(dataset)
    assert named(verify(dataset), "documents.parquet", "", "its columns are not")


def test_the_ledger_is_read_shard_by_shard(dataset: Path) -> None:
    ledger = Ledger(located(file_of(dataset, "documents.parquet")))
    card = read_card(dataset)
    for entry in index_of(dataset):
        assert not ledger.is_at_end()
        rows = ledger.rows_of(entry.url)
        data = (dataset / entry.url).read_bytes()
        start = sum(e.nsamples for e in index_of(dataset) if e.split == entry.split and e.url < entry.url)
        keys = [sequence_key(entry.split, start + i) for i in range(entry.nsamples)]
        assert rows.strays(keys) == []
        assert rows.strays(keys[1:]) == keys[:1]
        for i, key in enumerate(keys):
            sequence = read_sequence(data[entry.offsets[i] : entry.offsets[i + 1]], key, card)
            assert list(rows.problems(sequence, entry.split)) == []
    assert ledger.is_at_end()
