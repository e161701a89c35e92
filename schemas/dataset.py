"""The directory of a packed dataset and its card. HASH is a part of the SHA-256 of the content (`dataset_files`).

    train-000000-of-000002-HASH.tar …   sequences; `val-…` for held-out data
    index-HASH.json          byte offset and checksum of every sequence (`schemas.shards.index`)
    documents-HASH.parquet   the ledger: document, source, license and time range of every span
    text_tokenizer-HASH/     the files of the text tokenizer (`schemas.text_tokenizer`)
    croissant-HASH.json      Croissant metadata, for data catalogs and other loaders
    dataset.json             the card: names, sizes and hashes of all these files. It is also a shard index of wids

The card is the commit. It is written last, in one step, when all files that it names are complete; a directory without
it is unfinished. Files that it does not name are left by an interrupted command and deleted by the next one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from schemas.dataset_files import CARD, CROISSANT, INDEX, LEDGER, StoredFile, is_dataset_file
from schemas.errors import ConfigError, DatasetError
from schemas.files import inside
from schemas.fingerprint import fingerprint
from schemas.storage.location import Location, located
from schemas.vocab import Vocabulary

SCHEMA_VERSION = 2

# Why documents were not packed: keys of `DatasetCard.left_out`
EMPTY, SHORT, LEFT_OUT = "empty", "shorter than min_tokens", "left out by the mixture"
LONG = "longer than the context"  # of question-answer documents: a split would separate questions from answers
TAKEN_DOWN = "taken down"  # is on the block list of the workspace
SHORTEST_CONTEXT = 16  # tokens
REPAIR = "Pack the dataset again (`longreel pack`), or copy it again from an intact copy."
LossWeighting = Literal["token", "document"]  # equal weight of every token, or of every document
_WIDS = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": "longreel"}


@dataclass(frozen=True, kw_only=True)
class ShardFile(StoredFile):
    """A shard that the card names."""

    split: str
    nsamples: int  # sequences


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
    files: Mapping[str, StoredFile]  # index, ledger and Croissant metadata, by name without the hash
    shards: tuple[ShardFile, ...]
    splits: Mapping[str, SplitCard]
    attention: str = "document"  # range of attention: "document" or "sequence" (schemas.packed)
    mixture: Mapping[str, Any] = field(default_factory=dict)  # options that select and repeat documents
    left_out: Mapping[str, int] = field(default_factory=dict)  # documents of the store that were not packed, by reason
    taken_down: tuple[str, ...] = ()  # ids of documents that `longreel takedown` removed
    text_tokenizer: tuple[StoredFile, ...] = ()  # its files, in one folder; none if the workspace had none

    @property
    def stored(self) -> list[StoredFile]:
        """All files that the card names."""
        return [*self.files.values(), *self.shards, *self.text_tokenizer]

    def file(self, directory: Location, name: str) -> Location:
        """Return the location of the index, ledger or Croissant metadata; `name` is its name without the hash.

        Raises DatasetError if it is outside of the directory.
        """
        return inside(directory, self.files[name].name)

    def text_tokenizer_folder(self, directory: Location) -> Location | None:
        """Return the folder of the text tokenizer, which `transformers` can load; None if the dataset has none."""
        return inside(directory, self.text_tokenizer[0].name).parent if self.text_tokenizer else None

    def to_json(self) -> str:
        """Return the card as JSON with sorted keys, including the SHA-256 of the other values."""
        values = dataclasses.asdict(self) | {"vocabulary": self.vocabulary.to_dict()} | _WIDS
        values["shardlist"] = [_wids_shard(shard) for shard in values.pop("shards")]
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
        values["shards"] = tuple(_shard_file(shard) for shard in values.pop("shardlist"))
        values = {name: value for name, value in values.items() if name not in (*_WIDS, "sha256")}
        names = {f.name for f in dataclasses.fields(cls)}
        if set(values) != names:
            raise ConfigError(f"fields {sorted(set(values) ^ names)} are missing or unknown")
        values["files"] = {name: StoredFile(**file) for name, file in values["files"].items()}
        if set(values["files"]) != {INDEX, LEDGER, CROISSANT}:
            raise ConfigError(f"`files` must name {INDEX}, {LEDGER} and {CROISSANT}, got {sorted(values['files'])}")
        values["vocabulary"] = Vocabulary.from_dict(values["vocabulary"])
        values["frame_grid"] = tuple(values["frame_grid"])
        values["taken_down"] = tuple(values["taken_down"])
        values["text_tokenizer"] = tuple(StoredFile(**file) for file in values["text_tokenizer"])
        for file in values["text_tokenizer"]:
            folder, _, name = file.name.partition("/")
            if not is_dataset_file(folder) or not name or "/" in name or name.startswith("."):
                raise ConfigError(f"{file.name!r} is not the name of a file of a text tokenizer")
        if not isinstance(values["left_out"], dict) or not isinstance(values["mixture"], dict):
            raise ConfigError("left_out and mixture must be JSON objects")
        values["splits"] = {name: SplitCard(**split) for name, split in values["splits"].items()}
        return cls(**values)


def read_card(directory: Location | Path) -> DatasetCard:
    """Read the card of a dataset.

    Raises DatasetError if the directory is missing, unfinished or not a dataset, or if the card was modified.
    """
    folder = located(directory)
    path = folder / CARD
    try:
        text = path.read().decode()
        card = DatasetCard.from_json(text)
        is_same = card.to_json() == text
    except (FileNotFoundError, NotADirectoryError) as e:
        if not folder.exists():
            raise DatasetError(f"{directory}: no such dataset directory") from e
        raise DatasetError(
            f"{directory} is unfinished: it has no {CARD}, which is written last. Run `longreel pack` again."
        ) from e
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise DatasetError(f"{path} is not a dataset card: {e}") from e
    if not is_same:
        raise DatasetError(f"{path} was modified: its SHA-256 does not match its content. {REPAIR}")
    return card


def _wids_shard(shard: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the shard list of wids, where `dataset` becomes the `__dataset__` of each sample."""
    return {"url": shard.pop("name"), "dataset": shard.pop("split")} | shard


def _shard_file(entry: dict[str, Any]) -> ShardFile:
    return ShardFile(name=entry.pop("url"), split=entry.pop("dataset"), **entry)
