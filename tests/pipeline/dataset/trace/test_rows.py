from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.reader import Sequences
from pipeline.dataset.trace.rows import copy_rows, read_checked, row_of_token, sequence_rows
from schemas.errors import ConfigError, DatasetError
from schemas.storage.location import located
from schemas.tables import write_table
from tests.support.datasets.packed_datasets import reseal
from tests.support.datasets.trace_dataset import BOOK, KEY, TraceDataset, traced
from tests.support.stored_files import file_of


def test_sequence_rows_are_all_spans_of_the_sequence_in_order(trace_dataset: TraceDataset) -> None:
    row, sequence = next(traced(trace_dataset, "files/film"))
    rows = sequence_rows(located(trace_dataset.dataset), row.sequence, row.shard)
    assert [r.span for r in rows] == list(range(len(sequence.spans)))
    assert [(r.start, r.length) for r in rows] == sequence.spans[["start", "length"]].tolist()
    assert rows == sequence_rows(located(trace_dataset.dataset), row.sequence, row.shard.removesuffix(".tar"))


def test_a_sequence_in_several_shards_is_rejected(dataset_copy: TraceDataset) -> None:
    path = file_of(dataset_copy.dataset, "documents.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows.append(next(x for x in rows if x["sequence"] == KEY) | {"shard": "val-000001-of-000002.tar"})
    write_table(path, table.from_pylist(rows, table.schema))
    with pytest.raises(DatasetError, match="in 2 shards"):
        sequence_rows(located(dataset_copy.dataset), KEY)


def test_copy_rows_cover_the_document_without_gaps(trace_dataset: TraceDataset) -> None:
    row, _ = next(traced(trace_dataset, "files/book"))
    rows = copy_rows(located(trace_dataset.dataset), row)
    assert len({r.sequence for r in rows}) > 2
    assert sum(r.length for r in rows) == 2 + len(trace_dataset.text.encode(BOOK))  # bos and eos


def test_row_of_token_rejects_padding_and_tokens_outside_of_the_sequence(trace_dataset: TraceDataset) -> None:
    rows = sequence_rows(located(trace_dataset.dataset), KEY)
    assert row_of_token(rows, rows[-1].end - 1, trace_dataset.card) == rows[-1]
    with pytest.raises(ConfigError, match="is padding"):
        row_of_token(rows, rows[-1].end, trace_dataset.card)
    with pytest.raises(ConfigError, match="is outside of"):
        row_of_token(rows, trace_dataset.card.context_length, trace_dataset.card)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"document_id": "f" * 64}, "document ids differ from those in the json"),
        ({"start": 1}, "the ledger's start of span 0 is 1"),
        ({"shard": "train-000001-of-000099.tar"}, "no shard 'train-000001-of-000099.tar'"),
        ({"shard": "../../val-000000-of-000001.tar"}, "no shard '../../val"),
        ({"shard": "train-000000"}, "no shard"),
        ({"document_start": 7}, "the ledger's document_start of span 0"),
        ({"split": "train"}, "the ledger's split is not val"),
    ],
)
def test_rows_that_differ_from_the_sequence_are_rejected(
    dataset_copy: TraceDataset, change: dict[str, Any], what: str
) -> None:
    path = file_of(dataset_copy.dataset, "documents.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    for values in rows:
        if values["sequence"] == KEY:
            values.update(change)
    write_table(path, table.from_pylist(rows, table.schema))
    reseal(dataset_copy.dataset)
    altered = sequence_rows(located(dataset_copy.dataset), KEY)
    with pytest.raises(DatasetError, match=what):
        read_checked(Sequences(located(dataset_copy.dataset), dataset_copy.card), altered, dataset_copy.card)


def test_copy_rows_with_a_gap_are_rejected(dataset_copy: TraceDataset) -> None:
    path = file_of(dataset_copy.dataset, "documents.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    chunks = [i for i, values in enumerate(rows) if values["uri"] == "files/book"]
    key = rows[chunks[0]]["sequence"]
    del rows[chunks[-1]], rows[chunks[1] - (chunks[1] > chunks[-1])]
    write_table(path, table.from_pylist(rows, table.schema))
    row = next(r for r in sequence_rows(located(dataset_copy.dataset), key) if r.uri == "files/book")
    with pytest.raises(DatasetError, match="overlap or leave a gap at its token"):
        copy_rows(located(dataset_copy.dataset), row)
