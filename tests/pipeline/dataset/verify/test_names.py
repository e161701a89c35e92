from __future__ import annotations

import dataclasses
import io

import pytest

from pipeline.dataset.verify.names import Keys, are_shard_names
from schemas.shards.index import ShardEntry
from schemas.shards.tar import member


def entry(url: str, *, sequences: int = 0) -> ShardEntry:
    offsets = tuple(range(sequences + 1))
    split = url.split("-")[0]
    return ShardEntry(
        url=url, split=split, nsamples=sequences, filesize=0, sha256="", offsets=offsets, checksums="0" * 16 * sequences
    )


@pytest.mark.parametrize(
    ("urls", "without_gaps", "with_gaps"),
    [
        (
            [
                "train-000000-of-000002-HASH.tar",
                "train-000001-of-000002-HASH.tar",
                "val-000000-of-000001-HASH.tar",
            ],
            True,
            True,
        ),
        (["train-000001-of-000002-HASH.tar", "val-000000-of-000001-HASH.tar"], False, True),
        (["train-000001-of-000002-HASH.tar", "train-000000-of-000002-HASH.tar"], False, False),
        (["val-000000-of-000001-HASH.tar", "train-000000-of-000001-HASH.tar"], False, False),
        (["train-000000-of-000002-HASH.tar", "train-000001-of-000003-HASH.tar"], False, False),
        (["train-000002-of-000002-HASH.tar"], False, False),
        (["train-000000-of-000001-HASH.zip"], False, False),
        (["train-000000-of-000001.tar"], False, False),
        (["other-000000-of-000001-HASH.tar"], False, False),
    ],
)
def test_shard_names_are_in_order_and_gaps_are_optional(urls: list[str], without_gaps: bool, with_gaps: bool) -> None:
    entries = [entry(url.replace("HASH", "0123456789ab")) for url in urls]
    assert are_shard_names(entries, with_gaps=False) == without_gaps
    assert are_shard_names(entries, with_gaps=True) == with_gaps


def test_keys_without_gaps_are_consecutive_over_the_shards_of_a_split() -> None:
    keys = Keys(with_gaps=False)
    first, other = (entry(f"train-00000{i}-of-000002-HASH.tar", sequences=2) for i in range(2))
    assert keys.of(first, None) == ["train-000000000", "train-000000001"]
    assert keys.of(entry("val-000000-of-000001-HASH.tar", sequences=1), None) == ["val-000000000"]
    assert keys.of(other, None) == ["train-000000002", "train-000000003"]


def test_keys_with_gaps_are_read_from_the_shard_if_they_increase() -> None:
    blocks = [member(f"train-00000000{n}.tokens.npy", b"") for n in (2, 5, 4)]
    shard = dataclasses.replace(entry("train-000000-of-000001-HASH.tar", sequences=3), offsets=(0, 512, 1024, 1536))
    keys = Keys(with_gaps=True).of(shard, io.BytesIO(b"".join(blocks)))
    assert keys == ["train-000000002", "train-000000005", "train-000000006"]
