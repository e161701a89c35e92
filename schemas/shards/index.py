"""The index of a dataset: where in its shard each sequence is, and its checksum.

`index-HASH.json` has one entry per shard, in the form of wids with additional fields, so it is also a shard index of
wids.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from schemas.dataset import REPAIR, DatasetCard, ShardFile
from schemas.dataset_files import CARD, INDEX
from schemas.errors import DatasetError
from schemas.files import inside
from schemas.storage.location import Location

_CHECKSUM_DIGITS = 16  # of one sequence


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard in the index. `offsets` [sequences + 1]: start of each sequence and end of the last, in bytes."""

    url: str
    split: str
    nsamples: int
    filesize: int
    sha256: str
    offsets: tuple[int, ...]
    checksums: str  # XXH3-64 of the bytes of each sequence, 16 hex digits each

    @property
    def file(self) -> ShardFile:
        """The shard as the card names it."""
        return ShardFile(
            name=self.url, split=self.split, nsamples=self.nsamples, filesize=self.filesize, sha256=self.sha256
        )


def index_json(shards: Sequence[ShardEntry]) -> str:
    """Return the content of the index: the fields that wids needs, and `split`, `sha256`, `offsets`, `checksums`."""
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": "longreel",
        "shardlist": [dataclasses.asdict(s) | {"dataset": s.split} for s in shards],
    }
    return json.dumps(index, separators=(",", ":")) + "\n"


def read_checked_index(directory: Location, card: DatasetCard) -> list[ShardEntry]:
    """Read the index of a card; raises DatasetError as `parse_index` does, and if it is not the one of the card."""
    path = card.file(directory, INDEX)
    try:
        data = path.read()
    except OSError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}. {REPAIR}") from e
    if hashlib.sha256(data).hexdigest() != card.files[INDEX].sha256:
        raise DatasetError(f"{path} is not the index that {CARD} was written for. {REPAIR}")
    shards = parse_index(data, path)
    if tuple(shard.file for shard in shards) != card.shards:
        raise DatasetError(f"{path} does not list the shards that {CARD} names. {REPAIR}")
    return shards


def parse_index(data: bytes, path: Location) -> list[ShardEntry]:
    """Parse an index; raises DatasetError if it is malformed, or names a file outside of the directory of `path`."""
    try:
        rows = json.loads(data)["shardlist"]
        shards = [_entry(row) for row in rows]
        for shard in shards:
            inside(path.parent, shard.url)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise DatasetError(f"{path} is not a valid shard index: {e}. Run `longreel verify`") from e
    for shard in shards:
        if len(shard.offsets) != shard.nsamples + 1:
            raise DatasetError(
                f"{path}: {shard.url} has {shard.nsamples} sequences and {len(shard.offsets)} offsets, "
                f"expected {shard.nsamples + 1} offsets"
            )
        digits = shard.checksums
        if len(digits) != _CHECKSUM_DIGITS * shard.nsamples or not re.fullmatch("[0-9a-f]*", digits):
            raise DatasetError(f"{path}: {shard.url} has {shard.nsamples} sequences, but not as many checksums")
    return shards


def checksum_of_sequence(block: bytes | memoryview) -> str:
    """Return the checksum of the bytes of a sequence, as in `ShardEntry.checksums`."""
    return xxhash.xxh3_64_hexdigest(block)


def checksum_at(checksums: str, i: int) -> str:
    """Return the checksum of sequence `i` of a shard, from `ShardEntry.checksums`."""
    return checksums[i * _CHECKSUM_DIGITS : (i + 1) * _CHECKSUM_DIGITS]


def _entry(row: dict[str, Any]) -> ShardEntry:
    values = {**row, "offsets": tuple(row["offsets"])}
    dataset = values.pop("dataset", None)
    entry = ShardEntry(**values)
    numbers = (entry.nsamples, entry.filesize, *entry.offsets)
    texts = (entry.url, entry.split, entry.sha256, entry.checksums)
    if not all(isinstance(text, str) for text in texts) or dataset != entry.split:
        raise ValueError(f"the entry of {entry.url!r} has an invalid url, split, sha256, checksums or dataset")
    if not all(type(number) is int and number >= 0 for number in numbers) or sorted(entry.offsets) != [*entry.offsets]:
        raise ValueError(f"the sizes and offsets of {entry.url} are not increasing integers")
    return entry
