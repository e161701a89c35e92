from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.dataset.inspect import card_table
from schemas.dataset import DatasetCard, read_card
from tests.support.datasets.packed_datasets import make_dataset
from tests.support.token_stores import book, video


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> DatasetCard:
    root: Path = tmp_path_factory.mktemp("inspect")
    return read_card(make_dataset(root, [book("a", 90), video("b", [3, 4]), book("c", 40, split="val")]))


def test_the_table_has_a_column_of_counts_per_split(card: DatasetCard) -> None:
    names, *columns = card_table(card).columns
    assert [column.header for column in columns] == list(card.splits) == ["train", "val"]
    rows = list(names.cells)
    for column, split in zip(columns, card.splits.values(), strict=True):
        cells = dict(zip(rows, column.cells, strict=True))
        assert cells["tokens"] == f"{split.tokens:,}"
        assert cells["vision tokens"] == f"{split.vision_tokens:,}"
        assert cells["best fill"] == f"{split.best_fill:.4%}"


def test_the_title_has_the_number_of_documents_that_were_taken_down(card: DatasetCard) -> None:
    assert "taken down" not in str(card_table(card).title)
    assert "2 documents taken down" in str(card_table(dataclasses.replace(card, taken_down=("a", "b"))).title)
