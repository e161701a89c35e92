from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.croissant import croissant_json
from pipeline.dataset.verify.card import card_problems, split_problems
from pipeline.dataset.verify.verify import verify
from schemas.dataset import DatasetCard, ShardFile, read_card
from schemas.dataset_files import CROISSANT
from schemas.storage.location import located
from tests.support.datasets.altered_datasets import (
    named,
)
from tests.support.stored_files import file_of, stored_file


@pytest.mark.parametrize(
    ("old", "new"), [('"frame_rate": 1.0', '"frame_rate": 2.0'), ("\n  ", "\n "), ("aaaa", "aaab")]
)
def test_a_card_edited_by_hand_is_reported(dataset: Path, old: str, new: str) -> None:
    path = dataset / "dataset.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert named(verify(dataset), "dataset.json", "", "was modified")


@pytest.mark.parametrize(
    ("field", "value"),
    [("sequences", 1), ("documents", 3), ("tokens", 5), ("text_tokens", 5), ("vision_tokens", 5), ("shards", 9),
     ("fill", 0.5), ("best_fill", 0.1), ("best_fill", 1.5)],
)  # fmt: skip
def test_a_card_with_wrong_counts_is_reported(dataset: Path, field: str, value: float) -> None:
    card = read_card(dataset)
    change: dict[str, Any] = {field: value}
    splits = {**card.splits, "train": dataclasses.replace(card.splits["train"], **change)}
    changed = dataclasses.replace(card, splits=splits)
    file_of(dataset, CROISSANT).write_text(croissant_json(located(dataset), changed))
    changed = dataclasses.replace(changed, files={**card.files, CROISSANT: stored_file(dataset, CROISSANT)})
    (dataset / "dataset.json").write_text(changed.to_json())
    report = verify(dataset)
    assert report.found
    assert all(p.file == "dataset.json" and p.what.startswith("train: ") for p in report.problems)


@pytest.mark.parametrize(
    "change",
    [{"context_length": 128}, {"context_length": "64"}, {"context_length": 4}, {"fingerprint": 7}, {"splits": {}},
     {"loss_weighting": "row"}, {"frame_grid": ("a", 2)}, {"context_length": 10**30}],
)  # fmt: skip
def test_a_card_with_invalid_values_is_reported(dataset: Path, change: dict[str, Any]) -> None:
    card: DatasetCard = dataclasses.replace(read_card(dataset), **change)
    (dataset / "dataset.json").write_text(card.to_json())
    assert verify(dataset).found


def test_the_card_of_an_intact_dataset_has_no_problems(dataset: Path) -> None:
    card = read_card(dataset)
    assert list(card_problems(card)) == []


def test_a_split_that_the_card_does_not_list_is_reported(dataset: Path) -> None:
    card = read_card(dataset)
    card = dataclasses.replace(card, splits={"train": card.splits["train"]})
    assert list(split_problems(card, "val", {"sequences": 0})) == []
    (problem,) = split_problems(card, "val", {"sequences": 3})
    assert problem == "it does not list the split val, which has 3 sequences"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"context_length": 4}, "context_length is 4, below 16"),
        ({"context_length": "64"}, "must be a number"),
        ({"fingerprint": "0"}, "must be a SHA-256"),
        ({"shards": (ShardFile(name="a", filesize=1, sha256="0", split="train", nsamples=1),)}, "must be a SHA-256"),
        ({"taken_down": ("b", "a")}, "`taken_down` is not a sorted list"),
        ({"left_out": {"empty": -1}}, "a count in `left_out`"),
        ({"loss_weighting": "row"}, "loss_weighting 'row' is invalid"),
    ],
)
def test_an_invalid_field_is_named(dataset: Path, change: dict[str, Any], what: str) -> None:
    card = dataclasses.replace(read_card(dataset), **change)
    (problem,) = card_problems(card)
    assert what in problem
