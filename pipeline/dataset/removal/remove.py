"""Removes items from a packed dataset and keeps all other data unchanged.

Sequences that contain a chunk of the items are repacked: their other chunks are moved to the front and padding is
added. Sequences without other chunks are dropped, as are shards without other sequences. The names of the remaining
sequences and shards do not change, so there are gaps in their numbering. In rewritten shards, the other sequences are
copied byte by byte.

The rewritten shards and a new ledger and index are written next to the old ones, under new names. Replacing the card
changes the dataset in one step; then the old files are deleted (`pipeline.dataset.commit`). A reader finds a complete
dataset at any time. After a kill, the same call completes the removal, or deletes what is left of the old files. A
dataset of which nothing would remain is deleted.

Cost: a few scans of the ledger; shards that contain a chunk of the items are read and written once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from pipeline.dataset.commit import (
    Record,
    card_version,
    delete_dataset,
    delete_leftovers,
    describe,
    ignore,
    replace_card,
)
from pipeline.dataset.ledger import write_ledger
from pipeline.dataset.removal.documents import documents_of_items
from pipeline.dataset.removal.plan import ShardChange, Totals, card_without, changes
from pipeline.dataset.removal.rewrite import rewrite
from schemas.dataset import DatasetCard, read_card
from schemas.dataset_files import CARD, INDEX, LEDGER
from schemas.errors import DatasetError
from schemas.files import inside
from schemas.fingerprint import sha256_file
from schemas.shards.index import ShardEntry, read_checked_index
from schemas.storage.location import Location, located


@dataclass(frozen=True)
class Removal:
    """The difference between a dataset and the same dataset without some documents."""

    before: DatasetCard
    card: DatasetCard | None  # None: nothing would remain
    documents: frozenset[str]
    shards: dict[str, ShardChange]  # only those that change

    def lines(self) -> Iterator[str]:
        """Yield a description, line by line."""
        repacked, dropped = (sum(len(getattr(s, n)) for s in self.shards.values()) for n in ("repacked", "dropped"))
        yield f"documents removed: {len(self.documents):,}; sequences repacked: {repacked:,}, dropped: {dropped:,}"
        if self.card is None:
            yield "nothing else is in it, so it is deleted"
            return
        for name, split in self.before.splits.items():
            after = self.card.splits.get(name)
            result = f"{after.tokens:,} tokens, fill {after.fill:.3%}" if after else "removed"
            yield f"{name}: {split.tokens:,} tokens, fill {split.fill:.3%} -> {result}"


def remove_items(place: Location | Path, items: Collection[str], *, record: Record = ignore) -> Removal | None:
    """Remove the documents of `items` (document_ids) from a dataset; return None if it has none of them.

    `record` is called with each file before it is replaced or deleted. Raises DatasetError, with the dataset unchanged,
    if it is unfinished or was modified.
    """
    directory = located(place)
    version, card = card_version(directory), read_card(directory)
    delete_leftovers(directory, card, record=record)
    removal = plan_removal(directory, items)
    if removal is None:
        return None
    if removal.card is None:
        delete_dataset(directory, record=record)
        return removal
    try:
        new = _write(directory, removal, removal.card)
        for file in card.stored:
            if file not in new.stored:
                record(directory / file.name, file.sha256)
        record(directory / CARD, None)
        replace_card(directory, new, version=version)
    finally:
        delete_leftovers(directory, read_card(directory))
    return removal


def plan_removal(place: Location | Path, items: Collection[str]) -> Removal | None:
    """Return what would change, None if the dataset has none of the items; writes nothing."""
    directory = located(place)
    card = read_card(directory)
    _require_unmodified(directory, card)
    ledger = card.file(directory, LEDGER)
    ids, totals = documents_of_items(ledger, items), dict[str, Totals]()
    if not ids:
        return None
    listed = changes(ledger, ids, totals)
    shards = {change.shard: change for change, _ in listed if change.repacked or change.dropped}
    return Removal(card, card_without(card, ids, totals), ids, shards)


def _write(directory: Location, removal: Removal, card: DatasetCard) -> DatasetCard:
    """Write the files of the dataset without the documents that differ; return its card."""
    entries = dict(_rewritten(directory, removal))
    kept = [entry for entry in entries.values() if entry is not None]
    names = {old: entry.url for old, entry in entries.items() if entry is not None}
    rows = changes(removal.before.file(directory, LEDGER), removal.documents, {})
    ledger = write_ledger(directory, _renamed((rows for _, rows in rows), names))
    card = replace(card, files={LEDGER: ledger}, shards=tuple(entry.file for entry in kept))
    return describe(directory, card, kept)


def _rewritten(directory: Location, removal: Removal) -> Iterator[tuple[str, ShardEntry | None]]:
    """Yield the old name of each shard with its new entry; None if nothing of it remains."""
    for entry in read_checked_index(directory, removal.before):
        if change := removal.shards.get(entry.url):
            yield entry.url, rewrite(inside(directory, entry.url), entry, change, removal.documents, removal.before)
        else:
            yield entry.url, entry


def _renamed(tables: Iterable[pa.Table], names: Mapping[str, str]) -> Iterator[pa.Table]:
    """Yield the rows of each shard with its new name."""
    for table in tables:
        if len(table):
            at = table.schema.get_field_index("shard")
            name = pa.repeat(names[table["shard"][0].as_py()], len(table))
            yield table.set_column(at, table.schema.field(at), name)


def _require_unmodified(directory: Location, card: DatasetCard) -> None:
    for name in (LEDGER, INDEX):
        path, expected = card.file(directory, name), card.files[name].sha256
        try:
            found = sha256_file(path)
        except OSError as e:
            raise DatasetError(f"{path} cannot be read: {e.strerror}; run `longreel verify`") from e
        if found != expected:
            raise DatasetError(
                f"{path} was modified: its SHA-256 is {found}, expected {expected}; run `longreel verify`"
            )
