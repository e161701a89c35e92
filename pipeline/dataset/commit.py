"""Commits a dataset: writes the files that describe its shards, replaces the card, and deletes what it does not name.

`longreel pack` and `longreel takedown` write shards under new names (`schemas.dataset_files`). Until the card is
replaced, a reader finds the old dataset complete; from then on, the new one. A command that is interrupted before
leaves files that no card names, and one that is interrupted after it, files of the old dataset. The next command
deletes both.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline.dataset.croissant import croissant_json
from schemas.content_named import content_named
from schemas.dataset import DatasetCard, read_card
from schemas.dataset_files import CARD, CROISSANT, INDEX, PARTS, README, README_PAGE, StoredFile, is_dataset_file
from schemas.errors import Conflict, StorageError
from schemas.shards.index import ShardEntry, index_json
from schemas.storage.location import Location
from schemas.storage.store import is_temporary

Record = Callable[[Location, str | None], None]  # a file that is about to change, and its SHA-256 if it is known

_REQUESTS = 16  # in flight while sizes are compared
_AGAIN = "run the same command again"


def ignore(place: Location, sha256: str | None) -> None:
    """Record nothing."""


def describe(directory: Location, card: DatasetCard, shards: list[ShardEntry]) -> DatasetCard:
    """Write index and Croissant metadata; return the card, which names shards and ledger, with their names."""
    card = replace(card, files={**card.files, INDEX: _write(directory, INDEX, index_json(shards))})
    return replace(card, files={**card.files, CROISSANT: _write(directory, CROISSANT, croissant_json(directory, card))})


def card_version(directory: Location) -> str | None:
    """Return the version of the card, which changes when it is replaced; None if there is no card."""
    found = (directory / CARD).stat()
    return found.version if found else None


def replace_card(directory: Location, card: DatasetCard, *, version: str | None) -> None:
    """Commit the dataset of a card, and delete the data card of the old one.

    Raises StorageError, with the card unchanged, if a file that it names has another size, or if the card in the
    directory is not the one that had `version`: another command has changed the dataset.
    """
    with ThreadPoolExecutor(_REQUESTS) as pool:
        found = pool.map(Location.stat, [directory / file.name for file in card.stored])
        for file, stat in zip(card.stored, found, strict=True):
            if stat is None or stat.size != file.filesize:
                size = f"has {stat.size} bytes" if stat else "is missing"
                raise StorageError(f"{directory / file.name} {size}, but {file.filesize} were written; {_AGAIN}")
    try:
        (directory / CARD).write(card.to_json().encode(), if_absent=version is None, if_version=version)
    except Conflict as e:
        raise StorageError(f"{directory / CARD} was changed by another command; {_AGAIN}") from e
    for name in (README, README_PAGE):  # of the old dataset; a command that packs or takes down writes them again
        (directory / name).delete()


def leftovers(directory: Location, card: DatasetCard | None) -> list[Location]:
    """Return the files of an interrupted command: those of Longreel that the card does not name, and part files."""
    named = {README, README_PAGE, *(file.name.split("/")[0] for file in card.stored)} if card else set()
    found = [place for place in directory.list() if place.name not in named and is_leftover(place.name)]
    return [*directory.temporary(), *found]


def is_leftover(name: str) -> bool:
    """Return whether a command leaves files or folders of this name behind when it is interrupted."""
    return name == PARTS or is_dataset_file(name) or is_temporary(name)


def delete_leftovers(directory: Location, card: DatasetCard | None, *, record: Record = ignore) -> None:
    """Delete the files of an interrupted command; `record` is called with each of them before.

    Does nothing if another command has replaced the card: it deletes them.
    """
    if card is not None and read_card(directory) != card:
        return
    for place in leftovers(directory, card):
        record(place, None)
        if place.stat() is None:
            place.delete_folder()
        else:
            place.delete()


def delete_dataset(directory: Location, *, record: Record = ignore) -> None:
    """Delete a dataset, its card first; files of others in its folder remain."""
    record(directory / CARD, None)
    (directory / CARD).delete()
    delete_leftovers(directory, None, record=record)
    if not directory.is_folder():
        directory.delete_folder()


def _write(directory: Location, name: str, text: str) -> StoredFile:
    with content_named(directory, name) as draft:
        draft.path.write_text(text, encoding="utf-8")
    assert draft.stored is not None
    return draft.stored
