"""Names of the files of a packed dataset.

A file that the card names has a part of the SHA-256 of its content in its name: `documents-0c8f7a2b91de.parquet`. So a
file is never replaced by another one: a new dataset has new files next to the old ones until its card replaces the old
card, and a cache of files by name is never out of date.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CARD = "dataset.json"
INDEX, LEDGER, CROISSANT = "index.json", "documents.parquet", "croissant.json"  # names without the hash
README, README_PAGE = "README.md", "README.html"  # the data card; the card does not name it, and it is made again
LEDGERS = "documents-*.parquet"  # pattern of the names of ledgers
TEXT_TOKENIZER = "text_tokenizer"  # folder, without the hash
PARTS = ".parts"  # folder of the part files of shards, until `longreel pack` commits the dataset

_DIGITS = 12  # of the hash in a name
_NAME = re.compile(rf"(.+)-([0-9a-f]{{{_DIGITS}}})(\.[a-z]+)")
_TOKENIZER = re.compile(rf"{TEXT_TOKENIZER}-[0-9a-f]{{{_DIGITS}}}")
_PLAIN = re.compile(r"(train|val)-\d{6,}-of-\d{6,}\.tar|index\.json|documents\.parquet|croissant\.json")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that the card names."""

    name: str
    filesize: int  # bytes
    sha256: str


def sequence_key(split: str, index: int) -> str:
    """Return the KEY of a sequence; `index` counts the sequences of a split over all shards."""
    return f"{split}-{index:09d}"


def shard_name(split: str, index: int, count: int) -> str:
    """Return the name of a shard without the hash; `count` is the number of shards of the split."""
    return f"{split}-{index:06d}-of-{count:06d}.tar"


def shard_number(name: str) -> tuple[str, int]:
    """Return the split and index in the name of a shard; the inverse of `shard_name`."""
    split, index, *_ = name.split("-")
    return split, int(index)


def content_name(name: str, sha256: str) -> str:
    """Return the name of a file with this content, from its name without the hash."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-{sha256[:_DIGITS]}{dot}{suffix}"


def tokenizer_folder(fingerprint: str) -> str:
    """Return the name of the folder of a text tokenizer whose files have this fingerprint."""
    return f"{TEXT_TOKENIZER}-{fingerprint[:_DIGITS]}"


def plain_name(name: str) -> str:
    """Return the name of a file without the hash: the inverse of `content_name`. Other names are returned unchanged."""
    found = _NAME.fullmatch(name)
    return f"{found[1]}{found[3]}" if found else name


def is_dataset_file(name: str) -> bool:
    """Return whether `name` is one that Longreel gives to a file or folder of a dataset, other than the card."""
    if _TOKENIZER.fullmatch(name) or name in (README, README_PAGE):
        return True
    plain = plain_name(name)
    return plain != name and _PLAIN.fullmatch(plain) is not None
