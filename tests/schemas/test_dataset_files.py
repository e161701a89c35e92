from __future__ import annotations

import pytest

from schemas.dataset_files import (
    CROISSANT,
    INDEX,
    LEDGER,
    content_name,
    is_dataset_file,
    plain_name,
    sequence_key,
    shard_name,
    shard_number,
)

SHA256 = "0c8f7a2b91de" + "5" * 52


def test_names_of_shards_and_sequences() -> None:
    assert sequence_key("val", 12) == "val-000000012"
    assert shard_name("train", 3, 10) == "train-000003-of-000010.tar"
    assert shard_number(shard_name("train", 3, 10)) == ("train", 3)


@pytest.mark.parametrize("name", [shard_name("train", 3, 10), shard_name("val", 0, 1), INDEX, LEDGER, CROISSANT])
def test_a_name_has_a_part_of_the_hash_before_the_suffix(name: str) -> None:
    stored = content_name(name, SHA256)
    assert stored == f"{name.rpartition('.')[0]}-0c8f7a2b91de.{name.rpartition('.')[2]}"
    assert plain_name(stored) == name
    assert plain_name(name) == name
    assert is_dataset_file(stored)
    assert not is_dataset_file(name)


@pytest.mark.parametrize(
    "name",
    [
        "dataset.json",
        "notes.txt",
        "notes-0c8f7a2b91de.txt",
        "train-000003-of-000010-0c8f7a2b91d.tar",
        "train-000003-of-000010-0C8F7A2B91DE.tar",
        "train-3-of-10-0c8f7a2b91de.tar",
        "../train-000003-of-000010-0c8f7a2b91de.tar",
        "index-0c8f7a2b91de.json.bak",
    ],
)
def test_other_names_are_not_files_of_a_dataset(name: str) -> None:
    assert not is_dataset_file(name)
