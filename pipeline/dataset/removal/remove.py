"""Removes items from a packed dataset and keeps all other data unchanged.

Sequences that contain a chunk of the items are repacked: their other chunks are moved to the front and padding is
added. Sequences without other chunks are dropped, as are shards without other sequences. The names of the remaining
sequences and shards do not change, so there are gaps in their numbering. In rewritten shards, the other sequences are
copied byte by byte.

The new dataset is made next to the old one, with hard links to the files that do not change, and the two directories
are exchanged in one step (`exchange`). A reader finds a complete dataset at any time, and a kill leaves one; the same
call deletes what is left of the other. A dataset of which nothing would remain is deleted.

Cost: a few scans of the ledger; shards that contain a chunk of the items are read and written once.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.dataset.croissant import write_croissant
from pipeline.dataset.ledger import write_ledger
from pipeline.dataset.removal.documents import documents_of_items
from pipeline.dataset.removal.exchange import exchange, recover, staging_of
from pipeline.dataset.removal.plan import ShardChange, Totals, card_without, changes
from pipeline.dataset.removal.rewrite import rewrite
from schemas.dataset import CARD, CROISSANT, INDEX, LEDGER, PARTS, DatasetCard, read_card, read_index, write_index
from schemas.errors import DatasetError, storage_errors
from schemas.files import inside, write_text
from schemas.fingerprint import sha256_file

Record = Callable[[Path, str | None], None]  # a file that is about to change, and its SHA-256 if it is known

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # left by `files.atomic` when a process is killed


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
        yield f"{len(self.documents):,} documents; sequences: {repacked:,} repacked, {dropped:,} dropped"
        if self.card is None:
            yield "nothing else is in it, so it is deleted"
            return
        for name, split in self.before.splits.items():
            after = self.card.splits.get(name)
            result = f"{after.tokens:,} tokens, fill {after.fill:.3%}" if after else "removed"
            yield f"{name}: {split.tokens:,} tokens, fill {split.fill:.3%} -> {result}"


def _ignore(path: Path, sha256: str | None) -> None:
    pass


def remove_items(directory: Path, items: Collection[str], *, record: Record = _ignore) -> Removal | None:
    """Remove the documents of `items` (document_ids) from a dataset; return None if it has none of them.

    `record` is called with each file before the dataset changes. Raises DatasetError, with the dataset unchanged, if it
    is unfinished or was modified.
    """
    directory = directory.resolve()
    recover(directory)
    removal = plan_removal(directory, items)
    if removal is None:
        return None
    if removal.card is None:
        for path in sorted(directory.iterdir()):
            record(path, None)
        with storage_errors(directory):
            directory.rename(staging_of(directory))
    else:
        try:
            _build(directory, removal)
        except BaseException:
            shutil.rmtree(staging_of(directory), ignore_errors=True)
            raise
        known = {entry.url: entry.sha256 for entry in read_index(directory)}
        for name in (*removal.shards, LEDGER, INDEX, CROISSANT, CARD):
            record(directory / name, known.get(name))
        exchange(directory)
    with storage_errors(directory):
        shutil.rmtree(staging_of(directory))
    return removal


def plan_removal(directory: Path, items: Collection[str]) -> Removal | None:
    """Return what would change, None if the dataset has none of the items; writes nothing."""
    card = read_card(directory)
    _require_unmodified(directory, card)
    ids, totals = documents_of_items(directory / LEDGER, items), dict[str, Totals]()
    if not ids:
        return None
    listed = changes(directory / LEDGER, ids, totals)
    shards = {change.shard: change for change, _ in listed if change.repacked or change.dropped}
    return Removal(card, card_without(card, ids, totals), ids, shards)


def _build(directory: Path, removal: Removal) -> None:
    """Make the dataset without the documents in the staging folder, its card last."""
    staging, entries = staging_of(directory), []
    assert removal.card is not None
    with storage_errors(staging):
        staging.mkdir()
    listed = read_index(directory)
    for entry in listed:
        if entry.url not in removal.shards:
            entries.append(entry)
            continue
        path, change = inside(directory, entry.url), removal.shards[entry.url]
        rewritten = rewrite(path, staging, entry, change, removal.documents, removal.before)
        entries += [rewritten] if rewritten is not None else []
    with storage_errors(staging):
        _link_others(directory, staging, {entry.url for entry in listed} - removal.shards.keys())
    write_index(staging, entries)
    write_ledger(staging / LEDGER, (rows for _, rows in changes(directory / LEDGER, removal.documents, {})))
    ledger, index = (sha256_file(staging / name) for name in (LEDGER, INDEX))
    card = replace(removal.card, ledger_sha256=ledger, index_sha256=index)
    write_croissant(staging, card, entries)
    write_text(staging / CARD, card.to_json())


def _link_others(directory: Path, staging: Path, unchanged: Collection[str]) -> None:
    """Link the shards that do not change and files that are not Longreel's, but no shard that is not in the index."""
    for path in sorted(directory.iterdir()):
        is_ours = path.name in (CARD, INDEX, LEDGER, CROISSANT, PARTS) or path.suffix == ".tar"
        if path.name in unchanged or not (is_ours or _TEMPORARY.fullmatch(path.name)):
            if path.is_dir():
                shutil.copytree(path, staging / path.name, copy_function=_link)
            else:
                _link(path, staging / path.name)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _require_unmodified(directory: Path, card: DatasetCard) -> None:
    for name, expected in ((LEDGER, card.ledger_sha256), (INDEX, card.index_sha256)):
        path = directory / name
        try:
            found = sha256_file(path)
        except OSError as e:
            raise DatasetError(f"{path} cannot be read: {e.strerror}; run `longreel verify`") from e
        if found != expected:
            raise DatasetError(
                f"{path} was modified: its SHA-256 is {found}, expected {expected}; run `longreel verify`"
            )
