"""Which documents a ledger lists."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.dataset.removal.documents import documents_of_items, read_batches
from schemas.errors import DatasetError
from schemas.storage.location import located
from tests.support.datasets.packed_datasets import make_dataset
from tests.support.datasets.removal_datasets import DOCUMENTS, LONG
from tests.support.stored_files import file_of
from tests.support.token_stores import book


def test_an_item_has_its_document_or_all_its_clips(tmp_path: Path) -> None:
    clips = [dataclasses.replace(book(str(n), 40), facts={"document_id": f"item#{n:05d}"}) for n in range(2)]
    other = dataclasses.replace(book("c", 40), facts={"document_id": "item2"})
    ledger = file_of(make_dataset(tmp_path, [*clips, other]), "documents.parquet")
    assert documents_of_items(located(ledger), ["item"]) == {"item#00000", "item#00001"}
    assert documents_of_items(located(ledger), ["item2", "none"]) == {"item2"}


def test_documents_of_several_splits_and_sequences_are_found_once(dataset: Path) -> None:
    wanted = {LONG.id, DOCUMENTS[0].id, DOCUMENTS[-1].id}
    assert documents_of_items(located(file_of(dataset, "documents.parquet")), wanted) == wanted


def test_a_damaged_ledger_raises(dataset: Path) -> None:
    path = file_of(dataset, "documents.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="longreel verify"):
        list(read_batches(located(path)))
