from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.reader import Sequences
from pipeline.dataset.removal.remove import remove_items
from schemas.dataset import read_card
from schemas.errors import ConfigError, DatasetError
from schemas.storage.location import located
from tests.support.datasets.removal_datasets import FULL, blocks
from tests.support.packing.packing_cases import samples
from tests.support.stored_files import index_of


def test_sequences_are_found_by_key_in_a_dataset_with_gaps(root: Path, dataset: Path) -> None:
    remove_items(dataset, [FULL.id])
    remaining = blocks(dataset)
    assert len(remaining) < len(blocks(root / "packed" / "64"))
    sequences = Sequences(located(dataset), read_card(dataset))
    for sample in [*samples(dataset, "train"), *samples(dataset, "val")]:
        found = sequences.read(sample["shard"], sample["key"])
        assert np.array_equal(found.tokens, sample["tokens.npy"])
        assert np.array_equal(found.tokens[3:9], sequences.tokens(sample["shard"], sample["key"], 3, 6))
    gap = min(set(blocks(root / "packed" / "64")) - set(remaining))
    with pytest.raises(DatasetError, match="does not hold"):
        sequences.read(next(s.url for s in index_of(dataset)), gap)


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (63, 2), (0, 65), (3, -1)])
def test_tokens_outside_of_the_sequence_are_rejected(dataset: Path, start: int, length: int) -> None:
    shard = index_of(dataset)[0].url
    with pytest.raises(DatasetError, match="train-000000000"):
        Sequences(located(dataset), read_card(dataset)).tokens(shard, "train-000000000", start, length)


def test_an_unknown_shard_is_rejected(dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"no shard 'train-000000'"):
        Sequences(located(dataset), read_card(dataset)).read("train-000000", "train-000000000")


def test_a_truncated_or_missing_shard_is_rejected(dataset: Path) -> None:
    entry = next(entry for entry in index_of(dataset) if entry.split == "val")
    shard = dataset / entry.url
    sequences = Sequences(located(dataset), read_card(dataset))
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(DatasetError, match="truncated"):
        sequences.read(shard.name, "val-000000000")
    shard.unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        sequences.read(shard.name, "val-000000000")
    with pytest.raises(ConfigError, match="is not a key of the split val"):
        sequences.read(shard.name, "train-000000000")
