from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.dataset import (
    CARD,
    FORGETTING,
    INDEX,
    DatasetCard,
    ShardEntry,
    SplitCard,
    read_card,
    read_index,
    sequence_key,
    shard_name,
    shard_number,
    write_index,
)
from schemas.errors import ConfigError, DatasetError
from schemas.vocab import Vocabulary

VOCABULARY = Vocabulary(
    text_size=300,
    codebook_size=16,
    bos_id=1,
    eos_id=2,
    begin_vision=(3,),
    end_vision=(4,),
    text_sha256="a" * 64,
    vision_sha256="b" * 64,
)
CARD_OF_ONE_SPLIT = DatasetCard(
    schema_version=1,
    context_length=64,
    vocabulary=VOCABULARY,
    frame_grid=(2, 2),
    frame_size=8,
    frame_rate=4.0,
    loss_weighting="token",
    fingerprint="c" * 64,
    ledger_sha256="d" * 64,
    index_sha256="e" * 64,
    splits={
        "train": SplitCard(
            sequences=2, shards=1, documents=3, tokens=120, text_tokens=80, vision_tokens=40, fill=0.9, best_fill=1.0
        )
    },
    mixture={"epochs": 2},
    left_out={"empty": 1},
    forgotten=("f" * 64,),
)
SHARDS = [
    ShardEntry(
        url="train-000000-of-000002.tar", split="train", nsamples=2, filesize=90, sha256="0", offsets=(0, 40, 80)
    ),
    ShardEntry(url="train-000001-of-000002.tar", split="train", nsamples=0, filesize=10, sha256="1", offsets=(0,)),
]


def test_names_of_shards_and_sequences() -> None:
    assert sequence_key("val", 7) == "val-000000007"
    assert shard_name("train", 3, 12) == "train-000003-of-000012.tar"
    assert shard_number(shard_name("train", 3, 12)) == ("train", 3)


def test_from_json_is_the_inverse_of_to_json() -> None:
    assert DatasetCard.from_json(CARD_OF_ONE_SPLIT.to_json()) == CARD_OF_ONE_SPLIT


def test_the_hash_in_a_card_changes_with_every_field() -> None:
    hashes = {
        json.loads(dataclasses.replace(CARD_OF_ONE_SPLIT, **change).to_json())["sha256"]
        for change in ({}, {"context_length": 65}, {"forgotten": ()}, {"attention": "sequence"})
    }
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2, but this version of Longreel reads 1: pack again"),
        ({"extra": 1}, r"fields \['extra'\] are missing or unknown"),
        ({"left_out": []}, "left_out and mixture must be JSON objects"),
    ],
)
def test_an_invalid_card_is_rejected(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    text = json.dumps(json.loads(CARD_OF_ONE_SPLIT.to_json()) | change)
    with pytest.raises(ConfigError, match=message):
        DatasetCard.from_json(text)
    (tmp_path / CARD).write_text(text)
    with pytest.raises(DatasetError, match=f"{CARD} is not a dataset card: {message}"):
        read_card(tmp_path)


def test_the_error_for_an_unfinished_dataset_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is unfinished.*Run `longreel pack` again"):
        read_card(tmp_path)
    (tmp_path / FORGETTING).mkdir()
    (tmp_path / FORGETTING / CARD).touch()
    with pytest.raises(DatasetError, match="Run the same `longreel forget` again"):
        read_card(tmp_path)
    with pytest.raises(DatasetError, match="no such dataset directory"):
        read_card(tmp_path / "none")


def test_read_index_returns_what_write_index_wrote(tmp_path: Path) -> None:
    write_index(tmp_path, SHARDS)
    assert read_index(tmp_path) == SHARDS
    assert json.loads((tmp_path / INDEX).read_text())["__kind__"] == "wids-shard-index-v1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(url="../x.tar"), "points outside the folder"),
        (lambda row: row.update(dataset="val"), "invalid url, split, sha256 or dataset"),
        (lambda row: row.update(offsets=[0, 80, 40]), "are not increasing integers"),
        (lambda row: row.update(filesize=1.5), "are not increasing integers"),
        (lambda row: row.update(offsets=[0, 40]), "has 2 sequences and 2 offsets, expected 3 offsets"),
        (lambda row: row.pop("sha256"), "is not a valid shard index"),
    ],
)
def test_an_invalid_index_is_rejected(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    write_index(tmp_path, SHARDS)
    index = json.loads((tmp_path / INDEX).read_text())
    change(index["shardlist"][0])
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(DatasetError, match=message):
        read_index(tmp_path)
