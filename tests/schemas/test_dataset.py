from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.dataset import SCHEMA_VERSION, DatasetCard, ShardFile, SplitCard, read_card
from schemas.dataset_files import CROISSANT, INDEX, LEDGER, StoredFile
from schemas.errors import ConfigError, DatasetError
from schemas.storage.location import located
from tests.support.token_stores import VOCABULARY

SPLIT = SplitCard(
    sequences=3, shards=1, documents=2, tokens=150, text_tokens=100, vision_tokens=50, fill=0.78, best_fill=1.0
)
CARD = DatasetCard(
    schema_version=SCHEMA_VERSION,
    context_length=64,
    vocabulary=VOCABULARY,
    frame_grid=(2, 2),
    frame_size=32,
    frame_rate=1.0,
    loss_weighting="document",
    fingerprint="a" * 64,
    files={name: StoredFile(name=name, filesize=7, sha256="b" * 64) for name in (CROISSANT, INDEX, LEDGER)},
    shards=(ShardFile(name="train-000000-of-000001.tar", filesize=9, sha256="f" * 64, split="train", nsamples=2),),
    splits={"train": SPLIT},
    taken_down=("d", "e"),
)


def test_a_card_is_read_as_it_was_written() -> None:
    assert DatasetCard.from_json(CARD.to_json()) == CARD


def test_a_card_is_a_shard_index_of_wids() -> None:
    values = json.loads(CARD.to_json())
    assert values["__kind__"] == "wids-shard-index-v1"
    assert values["wids_version"] == 1
    assert values["shardlist"] == [
        {
            "url": "train-000000-of-000001.tar",
            "dataset": "train",
            "nsamples": 2,
            "filesize": 9,
            "sha256": "f" * 64,
        }
    ]


def test_a_card_names_all_files_of_the_dataset(tmp_path: Path) -> None:
    assert [file.name for file in CARD.stored] == [CROISSANT, INDEX, LEDGER, "train-000000-of-000001.tar"]
    assert CARD.file(located(tmp_path), LEDGER) == located(tmp_path / LEDGER)
    outside = dataclasses.replace(CARD, files={LEDGER: StoredFile(name="../x", filesize=1, sha256="")})
    with pytest.raises(DatasetError, match="points outside the folder"):
        outside.file(located(tmp_path), LEDGER)


def test_the_hash_in_the_card_depends_on_every_value() -> None:
    changed = dataclasses.replace(CARD, frame_rate=2.0)
    assert json.loads(changed.to_json())["sha256"] != json.loads(CARD.to_json())["sha256"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"schema_version": 99}, "schema_version is 99"),
        ({"extra": 1}, "extra"),
        ({"left_out": []}, "JSON objects"),
        ({"files": {}}, "`files` must name index.json, documents.parquet and croissant.json"),
    ],
)
def test_an_invalid_card_is_rejected(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        DatasetCard.from_json(json.dumps(json.loads(CARD.to_json()) | change))


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
    (tmp_path / ".parts").mkdir()
    with pytest.raises(DatasetError, match="is unfinished.* Run `longreel pack` again"):
        read_card(tmp_path)
