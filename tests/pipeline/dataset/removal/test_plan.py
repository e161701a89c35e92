from __future__ import annotations

from pathlib import Path

from pipeline.dataset.removal.plan import Totals, card_without, changes
from pipeline.dataset.removal.remove import remove_items
from schemas.dataset import read_card
from schemas.storage.location import located
from tests.support.datasets.packed_datasets import make_dataset
from tests.support.datasets.removal_datasets import (
    GONE,
    keys_with,
)
from tests.support.stored_files import file_of, index_of
from tests.support.token_stores import video


def test_the_card_has_the_counts_of_the_remaining_documents(root: Path, dataset: Path) -> None:
    before = read_card(dataset).splits["train"]
    remove_items(dataset, [document.id for document in GONE])
    after, held_out = read_card(dataset).splits["train"], read_card(dataset).splits["val"]
    assert after.documents == before.documents - 2
    assert after.tokens == before.tokens - sum(len(d.tokens) for d in GONE)
    assert after.fill == after.tokens / (after.sequences * 64)
    assert after.fill <= after.best_fill <= 1
    assert held_out == read_card(root / "packed" / "64").splits["val"]


def test_best_fill_remains_a_tight_bound(tmp_path: Path) -> None:
    """Only two of these clips fit in a sequence, which `best_fill` accounts for before and after the removal."""
    dataset = make_dataset(tmp_path, [video(f"clip {i}", [3], cue=4) for i in range(20)])  # 22 tokens each
    before = read_card(dataset).splits["train"]
    assert before.best_fill == 44 / 64
    remove_items(dataset, [video("clip 7", [3]).id])
    after = read_card(dataset).splits["train"]
    assert (after.sequences, after.tokens) == (10, 19 * 22)
    assert after.best_fill == 19 * 22 / (9 * 64)


def test_changes_renumber_the_spans_of_repacked_sequences(dataset: Path) -> None:
    ids = {document.id for document in GONE}
    totals: dict[str, Totals] = {}
    results = list(changes(located(file_of(dataset, "documents.parquet")), ids, totals))
    assert [change.shard for change, _ in results] == [entry.url for entry in index_of(dataset)]
    affected = frozenset().union(*(change.repacked | change.dropped for change, _ in results))
    assert affected == keys_with(dataset, GONE)
    for _, table in results:
        expected: dict[str, tuple[int, int]] = {}
        for row in table.to_pylist():
            span, start = expected.get(row["sequence"], (0, 0))
            assert (row["span"], row["start"]) == (span, start)
            assert row["document_id"] not in ids
            expected[row["sequence"]] = span + 1, start + row["length"]
    assert sum(totals["train"].removed) == sum(len(document.tokens) for document in GONE)


def test_there_is_no_card_without_sequences(dataset: Path) -> None:
    assert card_without(read_card(dataset), ["a"], {"train": Totals(), "val": Totals()}) is None
