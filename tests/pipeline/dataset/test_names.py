from __future__ import annotations

import pytest

from pipeline.dataset.names import key_number, key_of
from schemas.dataset_files import sequence_key
from schemas.shards.tar import member


@pytest.mark.parametrize("number", [0, 7, 999_999_999, 1_000_000_000, 10**17])
def test_key_number_is_the_inverse_of_sequence_key(number: int) -> None:
    assert key_number(sequence_key("train", number), "train") == number


@pytest.mark.parametrize(
    "key",
    ["", "train-1", "val-000000001", "train-0000000001", "train-00000000x", "train-000000001 ", "other-000000001"],
)
def test_other_names_have_no_number(key: str) -> None:
    assert key_number(key, "train") is None


def test_key_of_reads_the_first_tar_header() -> None:
    assert key_of(member("train-000000003.tokens.npy", b"abc")) == "train-000000003"
    assert key_of(member("train-000000003.json", b"{}")) == ""
    assert key_of(b"") == ""
    assert key_of(b"\xff" * 512) == ""
