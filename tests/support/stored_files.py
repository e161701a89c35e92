"""Files of a packed dataset by their names without the hash, and alterations of them with all hashes updated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.dataset_files import CARD, INDEX, StoredFile, plain_name
from schemas.fingerprint import sha256_file
from schemas.shards.index import ShardEntry, index_json, parse_index
from schemas.storage.location import located


def file_of(directory: Path, name: str) -> Path:
    """Return the path of the file in the dataset whose name without the hash is `name`; there must be exactly one."""
    if name == CARD:
        return directory / name
    (path,) = (path for path in directory.iterdir() if plain_name(path.name) == name)
    return path


def stored_file(directory: Path, name: str) -> StoredFile:
    """Return the entry of the card for the index, ledger or Croissant metadata as they are now."""
    path = file_of(directory, name)
    return StoredFile(name=path.name, filesize=path.stat().st_size, sha256=sha256_file(path))


def write_index(directory: Path, shards: Sequence[ShardEntry]) -> None:
    """Replace the index, without an update of the card."""
    file_of(directory, INDEX).write_text(index_json(shards))


def index_of(directory: Path) -> list[ShardEntry]:
    """Return the index of a dataset, unchecked."""
    path = located(file_of(directory, INDEX))
    return parse_index(path.read(), path)
