"""Commits a dataset: writes the files that describe its shards, replaces the card, and deletes what it does not name.

`longreel pack` and `longreel takedown` write shards under new names (`schemas.dataset_files`). Until the card is
replaced, a reader finds the old dataset complete; from then on, the new one. A command that is interrupted before
leaves files that no card names, and one that is interrupted after it, files of the old dataset. The next command
deletes both.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.dataset.croissant import croissant_json
from schemas.content_named import content_named
from schemas.dataset import DatasetCard
from schemas.dataset_files import CARD, CROISSANT, INDEX, PARTS, StoredFile, is_dataset_file
from schemas.errors import StorageError, storage_errors
from schemas.files import write_text
from schemas.shards.index import ShardEntry, index_json
from schemas.storage.store import is_hidden

Record = Callable[[Path, str | None], None]  # a file that is about to change, and its SHA-256 if it is known


def ignore(path: Path, sha256: str | None) -> None:
    """Record nothing."""


def describe(directory: Path, card: DatasetCard, shards: list[ShardEntry]) -> DatasetCard:
    """Write index and Croissant metadata; return the card, which names shards and ledger, with their names."""
    card = replace(card, files={**card.files, INDEX: _write(directory, INDEX, index_json(shards))})
    return replace(card, files={**card.files, CROISSANT: _write(directory, CROISSANT, croissant_json(directory, card))})


def card_version(directory: Path) -> str | None:
    """Return a value that changes when the card is replaced; None if there is no card."""
    try:
        stat = (directory / CARD).stat()
    except FileNotFoundError:
        return None
    return f"{stat.st_mtime_ns}-{stat.st_ino}-{stat.st_size}"


def replace_card(directory: Path, card: DatasetCard, *, version: str | None) -> None:
    """Commit the dataset of a card.

    Raises StorageError, with the card unchanged, if a file that it names has another size, or if the card in the
    directory is not the one that had `version`: another command has changed the dataset.
    """
    for file in card.stored:
        size = _size(directory / file.name)
        if size != file.filesize:
            raise StorageError(f"{directory / file.name} has {size} bytes, but {file.filesize} were written; {_AGAIN}")
    if card_version(directory) != version:
        raise StorageError(f"{directory / CARD} was changed by another command; {_AGAIN}")
    write_text(directory / CARD, card.to_json())


def leftovers(directory: Path, card: DatasetCard | None) -> list[Path]:
    """Return the files of an interrupted command: those of Longreel that the card does not name, and part files."""
    named = {file.name.split("/")[0] for file in card.stored} if card else set()
    return sorted(p for p in directory.iterdir() if p.name not in named and is_leftover(p.name))


def is_leftover(name: str) -> bool:
    """Return whether a command leaves files or folders of this name behind when it is interrupted."""
    return name == PARTS or is_dataset_file(name) or is_hidden(name)


def delete_leftovers(directory: Path, card: DatasetCard | None, *, record: Record = ignore) -> None:
    """Delete the files of an interrupted command; `record` is called with each of them before."""
    for path in leftovers(directory, card):
        record(path, None)
        with storage_errors(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def delete_dataset(directory: Path, *, record: Record = ignore) -> None:
    """Delete a dataset, its card first; files of others in its folder remain."""
    record(directory / CARD, None)
    with storage_errors(directory):
        (directory / CARD).unlink(missing_ok=True)
        delete_leftovers(directory, None, record=record)
        if not any(directory.iterdir()):
            directory.rmdir()


_AGAIN = "run the same command again"


def _write(directory: Path, name: str, text: str) -> StoredFile:
    with content_named(directory, name) as draft:
        draft.path.write_text(text, encoding="utf-8")
    assert draft.stored is not None
    return draft.stored


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
