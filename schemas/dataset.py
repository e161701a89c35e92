"""The packed dataset's directory: card, shard index, and where a sequence's bytes lie.

    train-000000-of-000002.tar …   sequences; `val-…` where there is held-out data
    index.json                     wids shard index, plus byte offsets of every sequence and each shard's SHA-256
    documents.parquet              the ledger: every span back to document, source, license and time range
    croissant.json                 the same facts as Croissant metadata, for catalogues and other loaders
    dataset.json                   the card; written last, it is the commit

A directory without `dataset.json` is unfinished.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from schemas.errors import ConfigError, DatasetError
from schemas.files import inside, write_text
from schemas.fingerprint import fingerprint
from schemas.vocab import Vocabulary

SCHEMA_VERSION = 1
CARD, INDEX, LEDGER, CROISSANT = "dataset.json", "index.json", "documents.parquet", "croissant.json"
FORGETTING = ".forget"  # folder in which `longreel forget` prepares the files that it replaces
PARTS = ".parts"  # folder of the part files of written shards, until `longreel pack` commits the dataset


def sequence_key(split: str, index: int) -> str:
    """Return the KEY of a split's sequence, counted over all its shards."""
    return f"{split}-{index:09d}"


def shard_name(split: str, index: int, count: int) -> str:
    """Return a shard's file name."""
    return f"{split}-{index:06d}-of-{count:06d}.tar"


def shard_number(name: str) -> tuple[str, int]:
    """Return a shard's split and index; the inverse of `shard_name`."""
    split, index, *_ = name.split("-")
    return split, int(index)


@dataclass(frozen=True, kw_only=True)
class SplitCard:
    """Counts of one split. `fill` = tokens / (sequences · context length)."""

    sequences: int
    shards: int
    documents: int
    tokens: int
    text_tokens: int
    vision_tokens: int
    fill: float
    best_fill: float  # an upper bound on what any packing of these documents could reach


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """What `dataset.json` holds."""

    schema_version: int
    context_length: int
    vocabulary: Vocabulary
    frame_grid: tuple[int, int]  # rows and columns of codes in a frame
    frame_size: int  # pixels on a side
    frame_rate: float  # frames a second on the sampling grid
    loss_weighting: str
    fingerprint: str  # of the plan: documents, their content, and the packing configuration
    ledger_sha256: str
    index_sha256: str
    splits: Mapping[str, SplitCard]
    attention: str = "document"  # what a token attends to: its own document, or the whole sequence before it
    mixture: Mapping[str, Any] = field(default_factory=dict)  # how often documents went in, as it was asked for
    left_out: Mapping[str, int] = field(default_factory=dict)  # documents of the store that did not go in, by reason
    forgotten: tuple[str, ...] = ()  # ids of documents that `longreel forget` took out

    def to_json(self) -> str:
        """Return the card as JSON with a fixed order of keys, and its own SHA-256 among them."""
        values = dataclasses.asdict(self) | {"vocabulary": self.vocabulary.to_dict()}
        # Nothing else holds the card's hash; with it `longreel verify` notices a byte that changed here too.
        return json.dumps(values | {"sha256": fingerprint(values)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DatasetCard:
        """Read what `to_json` wrote; raises ConfigError or ValueError where it is not a card."""
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("schema_version") != SCHEMA_VERSION:
            version = values.get("schema_version") if isinstance(values, dict) else None
            raise ConfigError(f"schema version {version!r}; this Longreel reads version {SCHEMA_VERSION}")
        values.pop("sha256", None)
        names = {f.name for f in dataclasses.fields(cls)}
        if set(values) != names:
            raise ConfigError(f"fields {sorted(set(values) ^ names)} are missing or unknown")
        values["vocabulary"] = Vocabulary.from_dict(values["vocabulary"])
        values["frame_grid"] = tuple(values["frame_grid"])
        values["forgotten"] = tuple(values["forgotten"])
        if not isinstance(values["left_out"], dict) or not isinstance(values["mixture"], dict):
            raise ConfigError("left_out and mixture are not objects")
        values["splits"] = {name: SplitCard(**split) for name, split in values["splits"].items()}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard in `index.json`. `offsets` [sequences + 1] are the bytes where samples begin, and the end."""

    url: str
    split: str
    nsamples: int
    filesize: int
    sha256: str
    offsets: tuple[int, ...]


def read_card(directory: Path) -> DatasetCard:
    """Read a dataset's card; raises DatasetError where the directory is missing, unfinished or not a dataset."""
    path = directory / CARD
    if not directory.is_dir():
        raise DatasetError(f"{directory}: no such dataset directory")
    if not path.is_file():
        again = "the same `longreel forget`" if (directory / FORGETTING / CARD).is_file() else "`longreel pack`"
        raise DatasetError(f"{directory} is unfinished: it has no {CARD}, which is written last. Run {again} again.")
    try:
        return DatasetCard.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise DatasetError(f"{path} is not a dataset card: {e}") from e


def write_index(directory: Path, shards: list[ShardEntry]) -> None:
    """Write `index.json`: what wids needs of each shard, with `split`, `sha256` and `offsets` beside it.

    wids reads all splits as one dataset; `dataset` makes each sample say of which it is, as `__dataset__`.
    """
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": "longreel",
        "shardlist": [dataclasses.asdict(s) | {"dataset": s.split} for s in shards],
    }
    write_text(directory / INDEX, json.dumps(index, separators=(",", ":")) + "\n")


def read_index(directory: Path) -> list[ShardEntry]:
    """Read `index.json`; raises DatasetError where it is missing, malformed, or names a file outside."""
    path = directory / INDEX
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["shardlist"]
        shards = [_entry(row) for row in rows]
        for shard in shards:
            inside(directory, shard.url)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise DatasetError(f"{path} cannot be read as a shard index: {e}") from e
    for shard in shards:
        if len(shard.offsets) != shard.nsamples + 1:
            raise DatasetError(f"{path}: {shard.url} has {shard.nsamples} samples, {len(shard.offsets)} offsets")
    return shards


def _entry(row: dict[str, Any]) -> ShardEntry:
    values = {**row, "offsets": tuple(row["offsets"])}
    dataset = values.pop("dataset", None)
    entry = ShardEntry(**values)
    numbers = (entry.nsamples, entry.filesize, *entry.offsets)
    if not all(isinstance(text, str) for text in (entry.url, entry.split, entry.sha256)) or dataset != entry.split:
        raise ValueError(f"{entry.url!r} of {entry.split!r} is no shard")
    if not all(type(number) is int and number >= 0 for number in numbers) or sorted(entry.offsets) != [*entry.offsets]:
        raise ValueError(f"the sizes and offsets of {entry.url} are not numbers in order")
    return entry


EMPTY, SHORT, LEFT_OUT = "empty", "shorter than min_tokens", "left out by the mixture"


LONG = "longer than the context"  # of question-answer documents: cut, they would have questions without answers


SHORTEST_CONTEXT = 16


LossWeighting = Literal["token", "document"]
