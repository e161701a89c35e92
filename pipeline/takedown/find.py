"""Finds what a takedown removes: the named items, their copies, their near-duplicates, and text that came from them.

An item is looked up in everything that may hold it: manifest, survey, selection, token store, the ledger of every
dataset, and the block list. So an item is found that is no longer listed but still in an old dataset.

    copies            items with the same bytes or the same content, under any address; always removed
    near-duplicates   items that contain at least `min_containment` of the item, or of which it contains as much
    related           items that share less; they are reported and kept
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.removal.documents import read_batches
from pipeline.dedup.block_list import MIN_SHARE, BlockedItem, BlockList, SampleKeys, search_of
from pipeline.dedup.job import has_searched_all
from pipeline.dedup.pairs import Pair, read_pairs
from pipeline.reports.item_lookup import ItemLookup
from pipeline.runtime.manifest_file import read_listed
from pipeline.runtime.token_store import items_of
from pipeline.runtime.units import read_rows, unit_files
from pipeline.runtime.workspace import Workspace
from pipeline.select.keep_best import infer
from pipeline.sources.text_tables import parse_row_uri
from schemas.dataset_files import LEDGERS
from schemas.errors import DatasetError
from schemas.records import SIGNATURES, SURVEY, TOKENS
from schemas.rows import signature_rows
from schemas.storage.location import Location

_KNOWN = pa.schema([(name, pa.string()) for name in ("uri", "kind", "document_id", "content_id")])
_REQUESTED = "requested"


@dataclass(frozen=True, kw_only=True)
class Target:
    """An item to remove, and why."""

    uri: str
    kind: str
    document_id: str | None
    content_id: str | None
    because: str


@dataclass(frozen=True, kw_only=True)
class Related:
    """An item that shares content with a target and is kept."""

    uri: str
    content_id: str
    shares: str  # in words


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that a takedown removes, and what it keeps on purpose."""

    targets: tuple[Target, ...]
    related: tuple[Related, ...] = ()
    adopters: Mapping[str, str] | None = None  # documents of kept items with text of a target: address by document_id

    @property
    def uris(self) -> frozenset[str]:
        """The addresses of the targets."""
        return frozenset(target.uri for target in self.targets)

    @property
    def documents(self) -> frozenset[str]:
        """The document_ids of the targets."""
        return frozenset(target.document_id for target in self.targets if target.document_id)

    @property
    def contents(self) -> frozenset[str]:
        """The content_ids of the targets."""
        return frozenset(target.content_id for target in self.targets if target.content_id)


def find(
    workspace: Workspace,
    names: Sequence[str],
    datasets: Iterable[Location],
    *,
    near_duplicates: bool,
    min_containment: float,
) -> Found:
    """Return what a takedown of the items `names` removes.

    Raises ConfigError for a name that matches no item or several.
    """
    known = _known_items(workspace, datasets)
    lookup = ItemLookup(known.append_column("split", pa.nulls(len(known), pa.string())).sort_by("uri"))
    because: dict[str, str] = {}
    for name in names:
        for uri in lookup.find(name):
            because[uri] = _REQUESTED
    _add_copies(known, because)
    related: list[Related] = []
    named = [row for row in _rows_at(known, because).to_pylist() if row["content_id"]]
    contents = {
        row["content_id"]: row["uri"] for row in sorted(named, key=lambda row: because[row["uri"]] == _REQUESTED)
    }
    if near_duplicates and contents:
        found, related = _near_duplicates(workspace, known, contents, min_containment)
        for uri, reason in found.items():
            because.setdefault(uri, reason)
        _add_copies(known, because)
    targets = tuple(_targets(known, because))
    kept = tuple(other for other in related if other.uri not in because)
    return Found(targets=targets, related=kept, adopters=_adopters(workspace, because))


def _known_items(workspace: Workspace, datasets: Iterable[Location]) -> pa.Table:
    """Return all items that anything in the workspace refers to, as distinct rows of _KNOWN."""
    tables = [_KNOWN.empty_table(), *_listed(workspace)]
    for folder in (workspace.survey, workspace.selection):
        tables += [_with_ids(read_rows(path, SURVEY, _KNOWN.names)) for path in unit_files(folder)]
    for path in unit_files(workspace.tokens):
        tables.append(_of_documents(read_rows(path, TOKENS, ["uri", "kind", "document_id"])))
    for directory in datasets:
        for ledger in directory.list(LEDGERS):  # also that of a dataset that was replaced, until it is deleted
            batches = read_batches(ledger, ["uri", "kind", "document_id"])
            tables += [_of_documents(_distinct(batch)) for batch in batches]
    blocked = [{name: getattr(item, name) for name in _KNOWN.names} for item in BlockList.read(workspace).items]
    tables.append(pa.Table.from_pylist(blocked, _KNOWN))
    known = _distinct(pa.concat_tables([table.select(_KNOWN.names).cast(_KNOWN) for table in tables]))
    if not len(known):
        raise DatasetError(f"{workspace.root} lists no items: run `longreel survey INPUT ... --out {workspace.root}`")
    return known


def _with_ids(rows: pa.Table) -> pa.Table:
    """Return rows of the survey or selection; select names the content of an item without one by its address."""
    is_address = pc.equal(rows["content_id"], rows["uri"])
    content = pc.if_else(is_address, pa.scalar(None, pa.string()), rows["content_id"])
    return rows.set_column(rows.column_names.index("content_id"), "content_id", content)


def _listed(workspace: Workspace) -> Iterator[pa.Table]:
    if workspace.manifest.exists():
        listed = read_listed(workspace, ["uri", "kind"])
        nothing = pa.nulls(len(listed), pa.string())
        yield pa.table([listed["uri"], listed["kind"], nothing, nothing], schema=_KNOWN)


def _of_documents(table: pa.Table) -> pa.Table:
    """Return rows of documents as rows of _KNOWN: the item of a clip in place of the clip."""
    items, nothing = items_of(table["document_id"]), pa.nulls(len(table), pa.string())
    return pa.table([table["uri"], table["kind"], items, nothing], schema=_KNOWN)


def _distinct(table: pa.Table) -> pa.Table:
    return table.group_by(table.column_names, use_threads=False).aggregate([])


def _rows_with(known: pa.Table, column: str, values: Collection[str]) -> pa.Table:
    return known.filter(pc.is_in(known[column], pa.array(sorted(values), pa.string())))


def _rows_at(known: pa.Table, uris: Collection[str]) -> pa.Table:
    """Return the rows with these addresses; of a row of a table only what was surveyed last.

    Its address names another text after the table was edited, so a document that was made of it before is another item.
    """
    rows = _rows_with(known, "uri", uris)
    of_tables = pa.array([uri for uri in uris if parse_row_uri(uri)], pa.string())
    surveyed = rows.filter(pc.is_valid(rows["content_id"]))["uri"].combine_chunks()
    is_older = pc.and_(
        pc.is_in(rows["uri"], of_tables), pc.and_(pc.is_in(rows["uri"], surveyed), pc.is_null(rows["content_id"]))
    )
    return rows.filter(pc.invert(is_older))


def _ids(known: pa.Table, uris: Collection[str], column: str) -> set[str]:
    return set(_rows_at(known, uris)[column].drop_null().to_pylist())


def _add_copies(known: pa.Table, because: dict[str, str]) -> None:
    """Add the addresses of all items with the same bytes or content, until there are no more."""
    while True:
        before = len(because)
        first: dict[str, str] = {}
        for column in ("document_id", "content_id"):
            rows = _rows_at(known, because)
            for row in rows.filter(pc.is_valid(rows[column])).to_pylist():
                first.setdefault(row[column], row["uri"])
            for row in _rows_with(known, column, _ids(known, because, column)).to_pylist():
                same = "bytes" if column == "document_id" else "content"
                because.setdefault(row["uri"], f"same {same} as {first[row[column]]}")
        if len(because) == before:
            return


def _targets(known: pa.Table, because: Mapping[str, str]) -> Iterator[Target]:
    """Yield a target for each address and document."""
    found: dict[str, dict[str | None, dict[str, Any]]] = {}
    for row in _rows_at(known, because).to_pylist():
        documents = found.setdefault(row["uri"], {})
        if row["content_id"] or row["document_id"] not in documents:
            documents[row["document_id"]] = row
    for uri, documents in sorted(found.items()):
        known_ids = sorted(name for name in documents if name)
        for row in [documents[name] for name in known_ids] or documents.values():
            yield Target(**row, because=because[uri])


def _near_duplicates(
    workspace: Workspace, known: pa.Table, requested: Mapping[str, str], min_containment: float
) -> tuple[dict[str, str], list[Related]]:
    """Return the addresses of near-duplicates with the reason, and the items that share less.

    `requested` has an address by content_id.
    """
    contents = requested.keys()
    near, less = _by_pairs(read_pairs(workspace), contents, min_containment)
    named = _rows_with(
        known, "content_id", {name for pair in (*near.values(), *less.values()) for name in (pair.a, pair.b)}
    )
    names = dict(zip(named["content_id"].to_pylist(), named["uri"].to_pylist(), strict=True))
    names |= {content: uri for content, uri in requested.items() if content}
    because = {content: f"near-duplicate: {_shares(pair, content, names)}" for content, pair in near.items()}
    if is_stale(workspace):
        because |= {content: reason for content, reason in _by_keys(workspace, contents) if content not in because}
    found: dict[str, str] = {}
    for row in _rows_with(known, "content_id", because).to_pylist():
        found[row["uri"]] = because[row["content_id"]]
    related = [
        Related(uri=names[content], content_id=content, shares=_shares(pair, content, names))
        for content, pair in sorted(less.items())
        if content in names and content not in because
    ]
    return found, related


def _shares(pair: Pair, content: str, names: Mapping[str, str]) -> str:
    other = pair.other(content)
    return (
        f"{names.get(other, other)} contains {pair.containment_of(content):.0%} of it, "
        f"and it contains {pair.containment_of(other):.0%} of that"
    )


def _by_pairs(
    pairs: Iterable[Pair], contents: Collection[str], min_containment: float
) -> tuple[dict[str, Pair], dict[str, Pair]]:
    """Return the near-duplicates of `contents` by content_id, with a pair that says so, and what shares less.

    In a large group of copies not all pairs were compared: others are inferred (`keep_best.infer`).
    """
    by_content: dict[str, list[Pair]] = {}
    for pair in pairs:
        for content in (pair.a, pair.b):
            by_content.setdefault(content, []).append(pair)
    near: dict[str, Pair] = {}
    less: dict[str, Pair] = {}
    for origin in sorted(contents):
        left = [(pair.other(origin), pair, True) for pair in by_content.get(origin, ())]
        while left:
            content, pair, is_compared = left.pop()
            if content in near or content in contents:
                continue
            if max(pair.containment_a, pair.containment_b) < min_containment:
                if is_compared:
                    less.setdefault(content, pair)
                continue
            near[content] = pair
            for onward in by_content[content]:
                far = onward.other(content)
                if far != origin and pair.containment_of(content) > 0 and onward.containment_of(content) > 0:
                    left.append((far, infer(origin, far, content, pair, onward), False))
    return near, {content: pair for content, pair in less.items() if content not in near}


def is_stale(workspace: Workspace) -> bool:
    """Return whether items were surveyed after the last search for near-duplicates, or there was none."""
    return bool(unit_files(workspace.signatures)) and not has_searched_all(workspace)


def _by_keys(workspace: Workspace, contents: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (content_id, reason) of items that the block list would reject as similar: without the table of pairs."""
    blocked = BlockList(tuple(blocked_items(workspace, [_target_of(name) for name in sorted(contents)], takedown="")))
    for path in unit_files(workspace.signatures):
        for row in signature_rows(read_rows(path, SIGNATURES)):
            if row.content_id not in contents and (like := blocked.like(row)):
                yield row.content_id, f"near-duplicate: at least {MIN_SHARE:.0%} of one is in the other, {like.uri}"


def _target_of(content: str) -> Target:
    return Target(uri=content, kind="", document_id=None, content_id=content, because="")


def blocked_items(workspace: Workspace, targets: Sequence[Target], takedown: str) -> Iterator[BlockedItem]:
    """Yield the entries of the block list for targets, with the hash keys of those that have a signature."""
    wanted = {target.content_id for target in targets if target.content_id}
    keys: dict[str, tuple[str, SampleKeys | None]] = {}
    for path in unit_files(workspace.signatures):
        ids = read_rows(path, SIGNATURES, ["content_id"])["content_id"]
        if pc.any(pc.is_in(ids, pa.array(sorted(wanted), pa.string()))).as_py():
            for row in signature_rows(read_rows(path, SIGNATURES)):
                if row.content_id in wanted:
                    keys[row.content_id] = row.kind, SampleKeys.of(row)
    for target in targets:
        kind, samples = keys.get(target.content_id or "", (target.kind, None))
        yield BlockedItem(
            uri=target.uri,
            kind=kind,
            takedown=takedown,
            document_id=target.document_id,
            content_id=target.content_id,
            search=search_of(kind) if samples else None,
            samples=samples,
        )


def _adopters(workspace: Workspace, targets: Collection[str]) -> dict[str, str]:
    """Return the kept items that have text of a target: addresses by document_id."""
    found: dict[str, str] = {}
    for path in unit_files(workspace.selection):
        rows = read_rows(path, SURVEY, ["uri", "document_id", "text_from"])
        for row in rows.filter(pc.is_valid(rows["text_from"])).to_pylist():
            if row["uri"] not in targets and row["document_id"] and set(row["text_from"]) & set(targets):
                found[row["document_id"]] = row["uri"]
    return found
