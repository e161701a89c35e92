"""Removes documents from a packed dataset and keeps all other data unchanged.

Sequences that contain a chunk of the documents are repacked: their other chunks are moved to the front and padding is
added. Sequences without other chunks are dropped, as are shards without other sequences. The names of the remaining
sequences and shards do not change, so there are gaps in their numbering. Shards without a chunk of the documents are
not rewritten; in rewritten shards, the other sequences are copied byte by byte.

New files are written to `.forget/`, the card last; then `switch` moves them into place. An interruption before that
leaves the dataset unchanged. An interruption during it leaves a directory without a card, and the same command
completes it.

Cost: a few scans of the ledger; shards that contain a chunk of the documents are read and written once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.dataset.croissant import write_croissant
from pipeline.dataset.forget.documents import DocumentRef, choose, find_documents
from pipeline.dataset.forget.plan import ShardChange, Totals, card_without, changes
from pipeline.dataset.forget.rewrite import rewrite
from pipeline.dataset.forget.switch import finish, switch, write_documents
from pipeline.dataset.ledger import write_ledger
from pipeline.runtime.progress import console
from pipeline.runtime.workspace import Workspace
from schemas.dataset import CARD, FORGETTING, INDEX, LEDGER, PARTS, DatasetCard, read_card, read_index, write_index
from schemas.errors import ConfigError, DatasetError, storage_errors
from schemas.files import inside, write_text
from schemas.fingerprint import sha256_file
from schemas.printable import printable

_OTHER_COPIES = (
    "forget: the token store and the datasets of other context lengths still contain these documents, and `longreel "
    "pack` refuses to add them to this dataset again. To remove them everywhere, remove them from the inputs and run "
    "survey, select and tokenize again."
)


@dataclass(frozen=True)
class Change:
    """The difference between a dataset and the same dataset without some documents."""

    documents: Sequence[DocumentRef]
    shards: dict[str, ShardChange]  # only those that change
    card: DatasetCard

    def lines(self, before: DatasetCard) -> Iterator[str]:
        """Yield a description of the change, line by line; `before` is the card of the present dataset."""
        for document in self.documents:
            yield printable(f"document {document.document_id}: {document.title or 'no title'}, {document.uri}")
        repacked, dropped = (sum(len(getattr(s, n)) for s in self.shards.values()) for n in ("repacked", "dropped"))
        counts = [sum(split.shards for split in card.splits.values()) for card in (before, self.card)]
        removed = counts[0] - counts[1]
        yield f"sequences: {repacked:,} repacked, {dropped:,} dropped"
        yield f"shards: {len(self.shards) - removed:,} rewritten, {removed:,} removed"
        for name, split in before.splits.items():
            after = self.card.splits.get(name)
            result = f"{after.tokens:,} tokens, fill {after.fill:.3%}" if after else "removed"
            yield f"{name}: {split.tokens:,} tokens, fill {split.fill:.3%} -> {result}"


def forget(directory: Path, items: Sequence[str], *, dry_run: bool = False) -> None:
    """Remove documents from the dataset in `directory`; completes an interrupted removal first.

    `items` are ids, prefixes of ids, or URIs. Raises ConfigError if one matches no document or is ambiguous, or if no
    document would remain; DatasetError if the dataset is unfinished or was modified. The dataset is then unchanged.
    """
    if not items:
        raise ConfigError("name at least one document: an id, a prefix of at least 8 characters of an id, or a URI")
    if not directory.is_dir():
        raise DatasetError(f"{directory}: no such dataset directory")
    with _locked(directory):
        if (directory / PARTS).exists():
            raise DatasetError(f"{directory} is only partly packed: let `longreel pack` finish first")
        finished = [] if dry_run else finish(directory)
        card = read_card(directory)
        _require_unmodified(directory, card)
        candidates = find_documents(directory / LEDGER, items)
        items = [item for item in items if _matches_any(item, candidates) or not _matches_any(item, finished)]
        documents, already = choose(items, candidates, card.forgotten)
        for item in already:
            console.print(f"forget: {printable(item)} was already forgotten")
        if documents:
            _forget(directory, card, documents, dry_run=dry_run)
        if (documents or finished) and not dry_run:
            console.print(_OTHER_COPIES)


def _matches_any(item: str, documents: Sequence[DocumentRef]) -> bool:
    return any(document.matches(item) for document in documents)


def _forget(directory: Path, card: DatasetCard, documents: Sequence[DocumentRef], *, dry_run: bool) -> None:
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


def plan(directory: Path, card: DatasetCard, documents: Sequence[DocumentRef]) -> Change:
    """Return the change that removes the documents; writes nothing."""
    ids, totals = {document.document_id for document in documents}, dict[str, Totals]()
    listed = changes(directory / LEDGER, ids, totals)
    shards = {change.shard: change for change, _ in listed if change.repacked or change.dropped}
    return Change(documents, shards, card_without(card, ids, totals))


def prepare(directory: Path, card: DatasetCard, change: Change) -> Change:
    """Write the new files to `.forget/`, the card last; return the change with the card as written."""
    ids = {document.document_id for document in change.documents}
    folder = directory / FORGETTING
    with storage_errors(folder):
        folder.mkdir()
    write_documents(folder, change.documents)
    entries = []
    for entry in read_index(directory):
        if entry.url not in change.shards:
            entries.append(entry)
            continue
        rewritten = rewrite(inside(directory, entry.url), folder, entry, change.shards[entry.url], ids, card)
        entries += [rewritten] if rewritten is not None else []
    write_index(folder, entries)
    write_ledger(folder / LEDGER, (rows for _, rows in changes(directory / LEDGER, ids, {})))
    written = replace(change.card, ledger_sha256=sha256_file(folder / LEDGER), index_sha256=sha256_file(folder / INDEX))
    write_croissant(folder, written, entries)
    write_text(folder / CARD, written.to_json())
    return replace(change, card=written)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of the workspace, if the dataset is in one, and a lock against another `forget`."""
    folder = directory.resolve().parent
    with ExitStack() as stack:
        if folder.name == "packed" and (folder.parent / "workspace.json").is_file():
            stack.enter_context(Workspace.existing(folder.parent).locked())
        descriptor = os.open(directory, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise ConfigError(f"another `longreel forget` is running in {directory}; wait until it ends") from e
        except OSError:  # the file system has no locks: the user must not run two commands at once
            pass
        yield


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
