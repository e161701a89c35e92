"""The directory of a packed dataset: card, shard index, and names of its files.

    train-000000-of-000002.tar …   sequences; `val-…` for held-out data
    index.json                     wids shard index, with byte offsets of all sequences and the SHA-256 of each shard
    documents.parquet              the ledger: document, source, license and time range of every span
    croissant.json                 Croissant metadata, for data catalogs and other loaders
    dataset.json                   the card; written last, which commits the dataset

A directory without `dataset.json` is unfinished.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import xxhash

from schemas.errors import ConfigError, DatasetError
from schemas.files import inside, write_text
from schemas.fingerprint import fingerprint, sha256_file
from schemas.vocab import Vocabulary

SCHEMA_VERSION = 1
CARD, INDEX, LEDGER, CROISSANT = "dataset.json", "index.json", "documents.parquet", "croissant.json"
PARTS = ".parts"  # folder of the part files of shards, until `longreel pack` commits the dataset

# Why documents were not packed: keys of `DatasetCard.left_out`
EMPTY, SHORT, LEFT_OUT = "empty", "shorter than min_tokens", "left out by the mixture"
LONG = "longer than the context"  # of question-answer documents: a split would separate questions from answers
TAKEN_DOWN = "taken down"  # is on the block list of the workspace
SHORTEST_CONTEXT = 16  # tokens
REPAIR = "Pack the dataset again (`longreel pack`), or copy it again from an intact copy."
_CHECKSUM_DIGITS = 16  # of one sequence
LossWeighting = Literal["token", "document"]  # equal weight of every token, or of every document


def sequence_key(split: str, index: int) -> str:
    """Return the KEY of a sequence; `index` counts the sequences of a split over all shards."""
    return f"{split}-{index:09d}"


def shard_name(split: str, index: int, count: int) -> str:
    """Return the file name of a shard; `count` is the number of shards of the split."""
    return f"{split}-{index:06d}-of-{count:06d}.tar"


def shard_number(name: str) -> tuple[str, int]:
    """Return the split and index in the file name of a shard; the inverse of `shard_name`."""
    split, index, *_ = name.split("-")
    return split, int(index)


@dataclass(frozen=True, kw_only=True)
class SplitCard:
    """Counts of one split. `fill` is tokens / (sequences · context length)."""

    sequences: int
    shards: int
    documents: int
    tokens: int
    text_tokens: int
    vision_tokens: int
    fill: float
    best_fill: float  # upper bound of `fill` for any packing of these documents


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """The content of `dataset.json`."""

    schema_version: int
    context_length: int
    vocabulary: Vocabulary
    frame_grid: tuple[int, int]  # rows and columns of codes in a frame
    frame_size: int  # pixels per side
    frame_rate: float  # sampled frames per second
    loss_weighting: str
    fingerprint: str  # of the documents, their content, and the packing configuration
    ledger_sha256: str
    index_sha256: str
    splits: Mapping[str, SplitCard]
    attention: str = "document"  # range of attention: "document" or "sequence" (schemas.packed)
    mixture: Mapping[str, Any] = field(default_factory=dict)  # options that select and repeat documents
    left_out: Mapping[str, int] = field(default_factory=dict)  # documents of the store that were not packed, by reason
    taken_down: tuple[str, ...] = ()  # ids of documents that `longreel takedown` removed

    def to_json(self) -> str:
        """Return the card as JSON with sorted keys, including the SHA-256 of the other values."""
        values = dataclasses.asdict(self) | {"vocabulary": self.vocabulary.to_dict()}
        # No other file stores the card's hash. `longreel verify` uses this one to detect changes of the card.
        return json.dumps(values | {"sha256": fingerprint(values)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DatasetCard:
        """Parse the output of `to_json`; raises ConfigError or ValueError if it is not a card."""
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("schema_version") != SCHEMA_VERSION:
            version = values.get("schema_version") if isinstance(values, dict) else None
            raise ConfigError(
                f"schema_version is {version!r}, but this version of Longreel reads {SCHEMA_VERSION}: pack again"
            )
        values.pop("sha256", None)
        names = {f.name for f in dataclasses.fields(cls)}
        if set(values) != names:
            raise ConfigError(f"fields {sorted(set(values) ^ names)} are missing or unknown")
        values["vocabulary"] = Vocabulary.from_dict(values["vocabulary"])
        values["frame_grid"] = tuple(values["frame_grid"])
        values["taken_down"] = tuple(values["taken_down"])
        if not isinstance(values["left_out"], dict) or not isinstance(values["mixture"], dict):
            raise ConfigError("left_out and mixture must be JSON objects")
        values["splits"] = {name: SplitCard(**split) for name, split in values["splits"].items()}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard in `index.json`. `offsets` [sequences + 1]: start of each sequence and end of the last, in bytes."""

    url: str
    split: str
    nsamples: int
    filesize: int
    sha256: str
    offsets: tuple[int, ...]
    checksums: str  # XXH3-64 of the bytes of each sequence, 16 hex digits each


def read_card(directory: Path) -> DatasetCard:
    """Read the card of a dataset.

    Raises DatasetError if the directory is missing, unfinished or not a dataset, or if the card was modified.
    """
    path = directory / CARD
    if not directory.is_dir():
        raise DatasetError(f"{directory}: no such dataset directory")
    if not path.is_file():
        raise DatasetError(
            f"{directory} is unfinished: it has no {CARD}, which is written last. Run `longreel pack` again."
        )
    try:
        text = path.read_text(encoding="utf-8")
        card = DatasetCard.from_json(text)
        is_same = card.to_json() == text
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise DatasetError(f"{path} is not a dataset card: {e}") from e
    if not is_same:
        raise DatasetError(f"{path} was modified: its SHA-256 does not match its content. {REPAIR}")
    return card


def read_checked_index(directory: Path, card: DatasetCard) -> list[ShardEntry]:
    """Read `index.json`; raises DatasetError as `read_index` does, and if it is not the one of the card."""
    path = directory / INDEX
    try:
        is_same = sha256_file(path) == card.index_sha256
    except OSError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}. {REPAIR}") from e
    if not is_same:
        raise DatasetError(f"{path} is not the index that {CARD} was written for. {REPAIR}")
    return read_index(directory)


def write_index(directory: Path, shards: list[ShardEntry]) -> None:
    """Write `index.json`: the fields that wids needs, and `split`, `sha256` and `offsets`.

    wids reads all splits as one dataset; the field `dataset` becomes the `__dataset__` of each sample.
    """
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": "longreel",
        "shardlist": [dataclasses.asdict(s) | {"dataset": s.split} for s in shards],
    }
    write_text(directory / INDEX, json.dumps(index, separators=(",", ":")) + "\n")


def read_index(directory: Path) -> list[ShardEntry]:
    """Read `index.json`; raises DatasetError if it is missing, malformed, or names a file outside the directory."""
    path = directory / INDEX
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["shardlist"]
        shards = [_entry(row) for row in rows]
        for shard in shards:
            inside(directory, shard.url)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
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
