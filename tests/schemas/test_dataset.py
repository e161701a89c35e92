from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.dataset import (
    INDEX,
    DatasetCard,
    ShardEntry,
    SplitCard,
    checksum_at,
    checksum_of_sequence,
    read_card,
    read_checked_index,
    read_index,
    sequence_key,
    shard_name,
    shard_number,
    write_index,
)
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import sha256_file
from tests.support.token_stores import VOCABULARY

SPLIT = SplitCard(
    sequences=3, shards=1, documents=2, tokens=150, text_tokens=100, vision_tokens=50, fill=0.78, best_fill=1.0
)
CARD = DatasetCard(
    schema_version=1,
    context_length=64,
    vocabulary=VOCABULARY,
    frame_grid=(2, 2),
    frame_size=32,
    frame_rate=1.0,
    loss_weighting="document",
    fingerprint="a" * 64,
    ledger_sha256="b" * 64,
    index_sha256="c" * 64,
    splits={"train": SPLIT},
    taken_down=("d", "e"),
)
ENTRY = ShardEntry(
    url="train-000000-of-000001.tar",
    split="train",
    nsamples=2,
    filesize=9,
    sha256="f",
    offsets=(0, 4, 8),
    checksums="0123456789abcdef" * 2,
)


def test_a_card_is_read_as_it_was_written() -> None:
    assert DatasetCard.from_json(CARD.to_json()) == CARD


def test_the_hash_in_the_card_depends_on_every_value() -> None:
    changed = dataclasses.replace(CARD, frame_rate=2.0)
    assert json.loads(changed.to_json())["sha256"] != json.loads(CARD.to_json())["sha256"]


@pytest.mark.parametrize(
    ("change", "what"),
    [({"schema_version": 99}, "schema_version is 99"), ({"extra": 1}, "extra"), ({"left_out": []}, "JSON objects")],
)
def test_an_invalid_card_is_rejected(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        DatasetCard.from_json(json.dumps(json.loads(CARD.to_json()) | change))


def test_names_of_shards_and_sequences() -> None:
    assert sequence_key("val", 12) == "val-000000012"
    assert shard_name("train", 3, 10) == "train-000003-of-000010.tar"
    assert shard_number(shard_name("train", 3, 10)) == ("train", 3)


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_index(tmp_path, [ENTRY])
    assert read_index(tmp_path) == [ENTRY]


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
    write_index(tmp_path, [dataclasses.replace(ENTRY, **change)])
    with pytest.raises(DatasetError, match=what):
        read_index(tmp_path)


def test_an_index_must_be_the_one_of_the_card(tmp_path: Path) -> None:
    write_index(tmp_path, [ENTRY])
    card = dataclasses.replace(CARD, index_sha256=sha256_file(tmp_path / INDEX))
    assert read_checked_index(tmp_path, card) == [ENTRY]
    with pytest.raises(DatasetError, match="is not the index that dataset.json was written for"):
        read_checked_index(tmp_path, CARD)
    (tmp_path / INDEX).unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        read_checked_index(tmp_path, card)


def test_checksums_of_sequences_are_found_by_their_number() -> None:
    checksums = [checksum_of_sequence(bytes([n])) for n in range(3)]
    assert [checksum_at("".join(checksums), n) for n in range(3)] == checksums


@pytest.mark.parametrize("change", [("a", "b"), ('"frame_size": ', '"frame_size": 1'), ("  ", " "), ("", " ")])
def test_a_modified_card_is_rejected(tmp_path: Path, change: tuple[str, str]) -> None:
    (tmp_path / "dataset.json").write_text(CARD.to_json())
    assert read_card(tmp_path) == CARD
    (tmp_path / "dataset.json").write_text(CARD.to_json().replace(*change, 1))
    with pytest.raises(DatasetError, match=r"dataset.json (was modified|is not a dataset card)"):
        read_card(tmp_path)


def test_an_unfinished_dataset_names_the_command_that_completes_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such dataset directory"):
        read_card(tmp_path / "missing")
    with pytest.raises(DatasetError, match="Run `longreel pack` again"):
        read_card(tmp_path)
