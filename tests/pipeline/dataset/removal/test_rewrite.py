from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.removal.plan import ShardChange
from pipeline.dataset.removal.remove import remove_items
from pipeline.dataset.removal.rewrite import repack, rewrite
from schemas.dataset import read_card
from schemas.errors import DatasetError
from schemas.shards.sequence import read_sequence
from schemas.storage.location import located
from schemas.tables import write_table
from tests.support.datasets.packed_datasets import reseal
from tests.support.datasets.removal_datasets import (
    DOCUMENTS,
    FULL,
    GONE,
    blocks,
    contents,
    keys_with,
)
from tests.support.stored_files import file_of, index_of


def test_repack_moves_the_other_chunks_to_the_front(dataset: Path) -> None:
    card = read_card(dataset)
    repacked = 0
    for key in keys_with(dataset, GONE):
        before = read_sequence(blocks(dataset)[key], key, card)
        data = repack(before, {document.id for document in GONE})
        if not data:
            assert {chunk.id for chunk in before.chunks} <= {document.id for document in GONE}
            continue
        repacked += 1
        after = read_sequence(data, key, card)
        ids = [chunk.id for chunk in before.chunks]
        assert [chunk.id for chunk in after.chunks] == [i for i in ids if i not in {document.id for document in GONE}]
        kept = [
            before.tokens[start : start + length]
            for start, length, document in before.spans[["start", "length", "document"]].tolist()
            if ids[document] not in {document.id for document in GONE}
        ]
        assert np.array_equal(after.tokens[: after.spans["length"].sum()], np.concatenate(kept))
        assert not after.tokens[after.spans["length"].sum() :].any()
    assert repacked


def test_repack_of_a_sequence_without_other_documents_is_empty(dataset: Path) -> None:
    (key,) = keys_with(dataset, [FULL])
    sequence = read_sequence(blocks(dataset)[key], key, read_card(dataset))
    assert repack(sequence, {FULL.id}) == b""


def test_a_shard_without_other_sequences_is_not_written(dataset: Path) -> None:
    entry = next(entry for entry in index_of(dataset) if entry.split == "val")
    ids = {document.id for document in DOCUMENTS if document.split == "val"}
    keys = frozenset(key for key in blocks(dataset) if key.startswith("val"))
    change = ShardChange(entry.url, frozenset(), keys)
    before = contents(dataset)
    assert rewrite(located(dataset / entry.url), entry, change, ids, read_card(dataset)) is None
    assert contents(dataset) == before


def test_a_ledger_that_lists_other_documents_than_the_shard_is_rejected(dataset: Path) -> None:
    path = file_of(dataset, "documents.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    ids = [row["document_id"] for row in rows]
    swapped = {DOCUMENTS[2].id: DOCUMENTS[3].id, DOCUMENTS[3].id: DOCUMENTS[2].id}
    for row, name in zip(rows, ids, strict=True):
        row["document_id"] = swapped.get(name, name)
    write_table(path, table.from_pylist(rows, table.schema))
    reseal(dataset)
    before = contents(dataset)
    with pytest.raises(DatasetError, match="other documents than the ledger lists"):
        remove_items(dataset, [DOCUMENTS[2].id])
    assert contents(dataset) == before
