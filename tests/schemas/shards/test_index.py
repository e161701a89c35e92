from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from schemas.dataset import DatasetCard
from schemas.dataset_files import INDEX
from schemas.errors import DatasetError
from schemas.shards.index import (
    ShardEntry,
    checksum_at,
    checksum_of_sequence,
    index_json,
    read_checked_index,
)
from schemas.storage.location import located
from tests.schemas.test_dataset import CARD
from tests.support.stored_files import index_of, stored_file

ENTRY = ShardEntry(
    url="train-000000-of-000001.tar",
    split="train",
    nsamples=2,
    filesize=9,
    sha256="f" * 64,
    offsets=(0, 4, 8),
    checksums="0123456789abcdef" * 2,
)


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(index_json([ENTRY]))
    assert index_of(tmp_path) == [ENTRY]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"url": "../a.tar"}, "points outside the folder"),
        ({"offsets": (0, 8, 4)}, "not increasing"),
        ({"nsamples": 3}, "expected 4 offsets"),
        ({"filesize": -1}, "not increasing integers"),
        ({"checksums": "0" * 16}, "has 2 sequences, but not as many checksums"),
        ({"checksums": "x" * 32}, "has 2 sequences, but not as many checksums"),
        ({"checksums": 0}, "an invalid url"),
    ],
)
def test_an_invalid_index_is_rejected(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    (tmp_path / INDEX).write_text(index_json([dataclasses.replace(ENTRY, **change)]))
    with pytest.raises(DatasetError, match=what):
        index_of(tmp_path)


def card_of(directory: Path, *shards: ShardEntry) -> DatasetCard:
    return dataclasses.replace(
        CARD, files={INDEX: stored_file(directory, INDEX)}, shards=tuple(shard.file for shard in shards)
    )


def test_an_index_must_be_the_one_of_the_card(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(index_json([ENTRY]))
    card = card_of(tmp_path, ENTRY)
    assert read_checked_index(located(tmp_path), card) == [ENTRY]
    with pytest.raises(DatasetError, match="is not the index that dataset.json was written for"):
        read_checked_index(located(tmp_path), CARD)
    for shards in ((), (dataclasses.replace(ENTRY, filesize=10),), (ENTRY, ENTRY)):
        with pytest.raises(DatasetError, match="does not list the shards that dataset.json names"):
            read_checked_index(located(tmp_path), card_of(tmp_path, *shards))
    (tmp_path / INDEX).unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        read_checked_index(located(tmp_path), card)


def test_checksums_of_sequences_are_found_by_their_number() -> None:
    checksums = [checksum_of_sequence(bytes([n])) for n in range(3)]
    assert [checksum_at("".join(checksums), n) for n in range(3)] == checksums
