"""Forget: take documents out of a packed dataset, and leave everything else as it is.

Sequences that hold a chunk of them are repacked: their other chunks move up, padding follows. Those that hold nothing
else are dropped, and so is a shard that holds no other sequence. Names stay, so they get gaps. Shards without a chunk
of them are not touched; in one that is rewritten, the other sequences are copied byte by byte.

New files are made in `.forget/`, the card last. Then the switch: the card is taken away, shards that are left empty are
removed, files are renamed into place, the card last. A kill before the switch leaves the dataset as it was; one during
it leaves a directory without a card, which every reader refuses, and the same command goes on from there. A card that
is there means that nothing was switched, so what stands in `.forget/` is then thrown away and made again.

Cost: the ledger is read a few times, and the shards that hold a chunk are read and written once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.dataset.croissant import write_croissant
from pipeline.dataset.forget.plan import Found, ShardChange, Totals, card_without, changes, choose, find_documents
from pipeline.dataset.forget.rewrite import rewrite
from pipeline.dataset.ledger import write_ledger
from pipeline.runtime.progress import console, readable
from pipeline.runtime.workspace import Workspace
from schemas.dataset import (
    CARD,
    CROISSANT,
    FORGETTING,
    INDEX,
    LEDGER,
    PARTS,
    DatasetCard,
    read_card,
    read_index,
    write_index,
)
from schemas.errors import ConfigError, DatasetError, storage_errors
from schemas.files import inside, write_text
from schemas.fingerprint import sha256_file

_DOCUMENTS = "documents.json"  # in the folder: what is forgotten, for the command that goes on
_NOT_ALL = (
    "forget: the token store and the datasets of other context lengths hold it still, and packing would bring it back, "
    "which `longreel pack` refuses here: take it out of the inputs as well, and run survey, select and tokenize again"
)


@dataclass(frozen=True)
class Change:
    """What forgetting changes."""

    documents: Sequence[Found]
    shards: dict[str, ShardChange]  # those that change
    card: DatasetCard

    def lines(self, before: DatasetCard) -> Iterator[str]:
        """Yield the change in words."""
        for document in self.documents:
            yield readable(f"document {document.document_id}: {document.title or 'no title'}, {document.uri}")
        repacked, dropped = (sum(len(getattr(s, n)) for s in self.shards.values()) for n in ("repacked", "dropped"))
        counts = [sum(split.shards for split in card.splits.values()) for card in (before, self.card)]
        removed = counts[0] - counts[1]
        yield f"sequences: {repacked:,} repacked, {dropped:,} dropped"
        yield f"shards: {len(self.shards) - removed:,} rewritten, {removed:,} removed"
        for name, split in before.splits.items():
            after = self.card.splits.get(name)
            what = f"{after.tokens:,} tokens, filled to {after.fill:.3%}" if after else "nothing"
            yield f"{name}: of {split.tokens:,} tokens, filled to {split.fill:.3%}, stay {what}"


def forget(directory: Path, items: Sequence[str], *, dry_run: bool = False) -> None:
    """Take documents out of the dataset in `directory`; first ends a switch that was interrupted.

    Raises ConfigError where an item means no document, or several, or all; DatasetError where the dataset is
    unfinished or was altered. In both cases nothing is changed.
    """
    if not items:
        raise ConfigError("name at least one document to forget: an id, the first 8 or more of one, or a uri")
    if not directory.is_dir():
        raise DatasetError(f"{directory}: no such dataset directory")
    with _alone(directory):
        if (directory / PARTS).exists():
            raise DatasetError(f"{directory} is packed only in part: run `longreel pack` to its end first")
        finished = [] if dry_run else finish(directory)
        card = read_card(directory)
        _require_unaltered(directory, card)
        found = find_documents(directory / LEDGER, items)
        items = [item for item in items if _means_any(item, found) or not _means_any(item, finished)]
        documents, before = choose(items, found, card.forgotten)
        for item in before:
            console.print(f"forget: {readable(item)} is not there: it was forgotten before")
        if documents:
            _forget(directory, card, documents, dry_run=dry_run)
        if (documents or finished) and not dry_run:
            console.print(_NOT_ALL)


def _means_any(item: str, documents: Sequence[Found]) -> bool:
    return any(document.answers(item) for document in documents)


def _forget(directory: Path, card: DatasetCard, documents: Sequence[Found], *, dry_run: bool) -> None:
    change = plan(directory, card, documents)
    if not dry_run:
        try:
            change = prepare(directory, card, change)
        except BaseException:
            shutil.rmtree(directory / FORGETTING, ignore_errors=True)
            raise
        switch(directory)
    for line in change.lines(card):
        console.print(f"forget: {line}")
    if dry_run:
        console.print("forget: nothing was changed (--dry-run)")


def plan(directory: Path, card: DatasetCard, documents: Sequence[Found]) -> Change:
    """Return what forgetting the documents changes, without writing anything."""
    ids, totals = {document.document_id for document in documents}, dict[str, Totals]()
    listed = changes(directory / LEDGER, ids, totals)
    shards = {change.shard: change for change, _ in listed if change.repacked or change.dropped}
    return Change(documents, shards, card_without(card, ids, totals))


def prepare(directory: Path, card: DatasetCard, change: Change) -> Change:
    """Make the new files in `.forget/`, the card last; return the change with the card as it was written."""
    ids = {document.document_id for document in change.documents}
    folder = directory / FORGETTING
    with storage_errors(folder):
        folder.mkdir()
    write_text(folder / _DOCUMENTS, json.dumps([document._asdict() for document in change.documents]))
    entries = []
    for entry in read_index(directory):
        if entry.url not in change.shards:
            entries.append(entry)
            continue
        left = rewrite(inside(directory, entry.url), folder, entry, change.shards[entry.url], ids, card)
        entries += [left] if left is not None else []
    write_index(folder, entries)
    write_ledger(folder / LEDGER, (rows for _, rows in changes(directory / LEDGER, ids, {})))
    made = replace(change.card, ledger_sha256=sha256_file(folder / LEDGER), index_sha256=sha256_file(folder / INDEX))
    write_croissant(folder, made, entries)
    write_text(folder / CARD, made.to_json())
    return replace(change, card=made)


def switch(directory: Path) -> None:
    """Put the files that were prepared in the place of the old ones. Can be run again where it was interrupted."""
    folder = directory / FORGETTING
    with storage_errors(directory):
        (directory / CARD).unlink(missing_ok=True)
        if (folder / INDEX).exists():  # it is renamed after this, so that the old one still tells which shards go
            kept = {entry.url for entry in read_index(folder)}
            for entry in read_index(directory):
                if entry.url not in kept:
                    inside(directory, entry.url).unlink(missing_ok=True)
        shards = sorted(path.name for path in folder.glob("*.tar"))
        for name in (*shards, LEDGER, CROISSANT, INDEX, CARD):
            if (folder / name).exists():
                (folder / name).replace(directory / name)
        shutil.rmtree(folder)


def finish(directory: Path) -> list[Found]:
    """End a switch that was interrupted, and return the documents that it forgot; clear away what is of no use."""
    folder = directory / FORGETTING
    if not folder.is_dir():
        return []
    documents = _prepared_documents(folder)
    if not (directory / CARD).exists():
        if not (folder / CARD).exists():
            return []  # it was not `forget` that took the card away
        switch(directory)
    else:
        with storage_errors(folder):
            shutil.rmtree(folder)
        if not {document.document_id for document in documents} <= set(read_card(directory).forgotten):
            return []  # the switch had not begun
    for document in documents:
        console.print(readable(f"forget: ended what was interrupted: {document.document_id}, {document.uri}"))
    return documents


def _prepared_documents(folder: Path) -> list[Found]:
    try:
        rows = json.loads((folder / _DOCUMENTS).read_text(encoding="utf-8"))
        return [Found(str(row["document_id"]), str(row["uri"]), row["title"]) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # it tells what is meant by an item, no more


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other commands from writing here: the workspace's, where the dataset lies in one, and another `forget`."""
    folder = directory.resolve().parent
    with ExitStack() as stack:
        if folder.name == "packed" and (folder.parent / "workspace.json").is_file():
            stack.enter_context(Workspace.existing(folder.parent).locked())
        descriptor = os.open(directory, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise ConfigError(f"another `longreel forget` works in {directory}; wait for its end") from e
        except OSError:  # a file system without locks: that only one command works here is the user's to see to
            pass
        yield


def _require_unaltered(directory: Path, card: DatasetCard) -> None:
    for name, expected in ((LEDGER, card.ledger_sha256), (INDEX, card.index_sha256)):
        try:
            found = sha256_file(directory / name)
        except OSError as e:
            raise DatasetError(f"{directory / name} cannot be read: {e.strerror}; run `longreel verify`") from e
        if found != expected:
            raise DatasetError(f"{directory / name} was altered, so what it says is not used; run `longreel verify`")
