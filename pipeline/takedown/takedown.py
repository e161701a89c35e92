"""Takes items down: removes them from everything that a workspace keeps, and makes sure that they do not return.

    1. find     the items, their copies and near-duplicates (`find`)
    2. block    they go on the block list, so that no later command accepts them (`pipeline.dedup.block_list`)
    3. remove   from datasets, token store, tables, journals and caches, each file or dataset in one step
    4. receipt  what was removed, where and when, with the hash of each file before and after (`journal`)

A takedown that was killed is completed by the next one, before its own items. Repeating one changes nothing. What
cannot be removed is stated: weights that were trained on an item, the input files, copies of datasets elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version

from pipeline.dataset.commit import delete_dataset
from pipeline.dataset.removal.remove import plan_removal, remove_items
from pipeline.dedup.block_list import write_blocked
from pipeline.runtime.growth import drop_other_divisions
from pipeline.runtime.workspace import Workspace
from pipeline.takedown import files, tables
from pipeline.takedown.find import Found, blocked_items, find
from pipeline.takedown.journal import Journal, Request, discard_unbegun, new_id, pending, started_now
from pipeline.takedown.trained import clear_tokenizer_run, tokenizer_runs, trained_models
from schemas.counted import counted
from schemas.dataset import read_card
from schemas.dataset_files import CARD, LEDGERS
from schemas.errors import ConfigError, DatasetError, StorageError
from schemas.records import item_of
from schemas.runs.messages import messages
from schemas.storage.location import Location, located
from schemas.storage.option import Address


@dataclass(frozen=True, kw_only=True)
class TakedownConfig:
    """What a takedown removes besides the items themselves."""

    near_duplicates: bool = True
    """Remove near-duplicates of the items as well: other encodings, crops, parts, longer versions, other editions."""
    min_containment: float = 0.5
    """Share of an item that another one must contain, or the other way round, for the other one to be removed, above 0
    to 1. Items that share less are listed and kept."""
    also: tuple[Address, ...] = ()
    """Folders outside of the workspace to remove the items from: copies of datasets, output of train-tokenizer."""
    models: tuple[Address, ...] = ()
    """Folders to search for models that were trained on the items, to name them in the receipt. The workspace and the
    folder that it is in are always searched."""

    def __post_init__(self) -> None:
        if not 0 < self.min_containment <= 1:
            raise ConfigError(f"min_containment must be above 0 and at most 1, got {self.min_containment}")


@dataclass
class _Done:
    """What was removed so far."""

    kept: list[str] = field(default_factory=list)  # what could not be removed
    failures: list[str] = field(default_factory=list)


def take_down(workspace: Workspace, items: Sequence[str], config: TakedownConfig, *, dry_run: bool = False) -> None:
    """Remove the items from everything that the workspace keeps; see the description of the module.

    Raises ConfigError, with nothing changed, for a name that matches no item or several; DatasetError at the end if a
    dataset is damaged and may still have them.
    """
    if not items:
        raise ConfigError("name at least one item: an address, a path, a file name, or an id (8 characters are enough)")
    with nullcontext() if dry_run else workspace.locked():  # a dry run writes nothing, not even a lock
        if not dry_run:
            discard_unbegun(workspace)
            for journal in pending(workspace):
                _say(f"completing the takedown {journal.id}, which was interrupted")
                _remove(workspace, journal)
        found = find(
            workspace,
            items,
            _datasets(workspace, config.also),
            near_duplicates=config.near_duplicates,
            min_containment=config.min_containment,
        )
        for line in _description(found):
            _say(line)
        if dry_run:
            for line in _preview(workspace, found, config):
                _say(line)
            _say("nothing was changed (--dry-run)")
            return
        journal = Journal(workspace, new_id())
        journal.begin(_request(workspace, journal.id, items, found, config))
        _remove(workspace, journal)


def _say(line: str) -> None:
    messages.info(f"takedown: {line}")


def _datasets(workspace: Workspace, also: Sequence[Location]) -> list[Location]:
    """Return the folders of all datasets."""
    return [*workspace.datasets(), *(folder for folder in also if folder.list(LEDGERS))]


def _description(found: Found) -> Iterator[str]:
    for target in found.targets:
        yield f"{target.uri} ({target.because})"
    for document, uri in (found.adopters or {}).items():
        yield f"{uri} has text of an item: its documents ({document[:12]} …) are removed and tokenized again without it"
    for other in found.related:
        yield f"kept, although it shares content: {other.uri}: {other.shares}"


def _preview(workspace: Workspace, found: Found, config: TakedownConfig) -> Iterator[str]:
    """Yield what would be removed from each dataset."""
    documents = {*found.documents, *(found.adopters or {})}
    for directory in _datasets(workspace, config.also):
        if files.is_unfinished(directory):
            yield f"{directory}: unfinished; its files would be deleted"
        elif removal := plan_removal(directory, documents):
            yield from (f"{directory}: {line}" for line in removal.lines())


def _request(
    workspace: Workspace, takedown: str, items: Sequence[str], found: Found, config: TakedownConfig
) -> Request:
    finished = [folder for folder in _datasets(workspace, config.also) if (folder / CARD).stat()]
    return Request(
        id=takedown,
        started=started_now(),
        items=tuple(items),
        near_duplicates=config.near_duplicates,
        min_containment=config.min_containment,
        found=found,
        selected=tables.selected_uris(workspace, found.uris),
        also=tuple(str(folder) for folder in config.also),
        models=tuple(str(folder) for folder in config.models),
        fingerprints={str(folder): read_card(folder).fingerprint for folder in finished},
    )


def _remove(workspace: Workspace, journal: Journal) -> None:
    """Do what a request says; steps that are done already change nothing."""
    request = journal.request()
    if journal.receipt.stat():
        journal.finish(None)
        return
    _block(workspace, request)
    drop_other_divisions(workspace)
    done = _Done()
    also = [Location.parse(folder) for folder in request.also]
    for directory in _datasets(workspace, also):
        _remove_from_dataset(directory, request, journal, done)
    for step in (
        tables.drop_tokens,
        tables.clear_survey,
        tables.clear_selection,
        tables.drop_pairs,
        tables.drop_signatures,
        tables.clear_manifest,
        tables.clear_quarantine,
        files.clear_files,
    ):
        step(workspace, request, journal)
    done.kept += _not_removed(workspace, request, journal)
    if done.failures:
        raise DatasetError(
            f"{'; '.join(done.failures)}. The items were removed from everything else. Pack these datasets again or "
            "delete them, then run the same command again to complete the takedown"
        )
    _finish(workspace, request, journal, done)


def _block(workspace: Workspace, request: Request) -> None:
    """Put the items on the block list, once: later their signatures are gone."""
    path = workspace.takedown / "blocked" / f"{request.id}.parquet"
    if not path.exists():
        entries = blocked_items(workspace, request.found.targets, request.id)
        plain = (dataclasses.replace(entry, search=None, samples=None) for entry in entries)
        write_blocked(workspace, request.id, entries if request.near_duplicates else plain)


def _remove_from_dataset(directory: Location, request: Request, journal: Journal, done: _Done) -> None:
    items = {*request.found.documents, *(request.found.adopters or {})}
    if files.is_unfinished(directory):
        delete_dataset(directory, record=journal.before)
        _say(f"{directory}: it was not finished, so its files were deleted; run `longreel pack` to make it again")
        return
    try:
        removal = remove_items(directory, items, record=journal.before)
    except DatasetError as e:
        done.failures.append(str(e))
        return
    if removal is not None:
        for line in removal.lines():
            _say(f"{directory}: {line}")


def _dataset_facts(request: Request) -> Iterator[dict[str, object]]:
    """Yield each dataset that changed, with the documents that were removed; no fingerprint: it was deleted."""
    items = {*request.found.documents, *(request.found.adopters or {})}
    for name, before in request.fingerprints.items():
        folder = Location.parse(name)
        if not _is_changed(folder, before):
            continue
        card = read_card(folder) if (folder / CARD).stat() else None
        yield {
            "dataset": name,
            "documents": [document for document in card.taken_down if item_of(document) in items] if card else None,
            "fingerprint_before": before,
            "fingerprint_after": card.fingerprint if card else None,
        }


def _not_removed(workspace: Workspace, request: Request, journal: Journal) -> Iterator[str]:
    """Yield what still has something of the items, in words."""
    for run in tokenizer_runs(workspace, map(Location.parse, request.also)):
        if said := clear_tokenizer_run(run, request, journal):
            yield said
    changed = {
        name: before for name, before in request.fingerprints.items() if _is_changed(Location.parse(name), before)
    }
    yield from map(str, trained_models(workspace, map(Location.parse, request.models), changed))
    if located(workspace.text_tokenizer).is_folder():
        yield f"{workspace.text_tokenizer}: its word pieces may have been learned from their text"
    yield from (f"input file {t.uri}" for t in request.found.targets if _exists(t.uri))
    yield from (f"{name} in the workspace was not examined" for name in files.unknown_files(workspace))
    yield from (f"temporary copy {name} of a running or killed command" for name in files.temporary_copies())
    yield "copies of datasets or of the workspace elsewhere, which are not known (--also removes the items from them)"


def _exists(uri: str) -> bool:
    """Whether an input is a file that Longreel can see."""
    try:
        return Location.parse(uri).stat() is not None
    except (ConfigError, StorageError, OSError, ValueError):  # of another scheme; out of reach; not a valid name
        return False


def _is_changed(directory: Location, fingerprint: str) -> bool:
    try:
        return read_card(directory).fingerprint != fingerprint
    except DatasetError:  # it was deleted
        return True


def _finish(workspace: Workspace, request: Request, journal: Journal, done: _Done) -> None:
    changes = journal.changes()
    found = request.found
    facts = {
        "id": request.id,
        "started": request.started,
        "finished": started_now(),
        "longreel": version("longreel"),
        "items": request.items,
        "near_duplicates": request.near_duplicates,
        "min_containment": request.min_containment,
        "removed": [dataclasses.asdict(target) for target in found.targets],
        "text_removed_from": found.adopters or {},
        "kept_although_related": [dataclasses.asdict(other) for other in found.related],
        "datasets": list(_dataset_facts(request)),
        "files": changes,
        "not_removed": done.kept,
    }
    if not changes:
        (located(workspace.takedown) / "blocked" / f"{request.id}.parquet").delete()
        journal.finish(None)
        _say("nothing of these items was left; they stay on the block list")
        return
    journal.finish(facts)
    _say(f"{counted(len(found.targets), 'item')} removed, {counted(len(changes), 'file')} changed")
    for line in done.kept:
        _say(f"not removed: {line}")
    _say(f"receipt: {journal.receipt}")
