"""The history of one item: everything that the jobs of a workspace recorded about it, at any stage.

Only the item's own unit of each job is read, and of the tables that cover the whole workspace the columns that find an
item by its address or id. A history converts to plain JSON with `to_json`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.pairs import Pair
from pipeline.dedup.similarity import Range
from pipeline.filters.limit import Limit
from pipeline.filters.numbers import numbers
from pipeline.reports.item_lookup import ItemLookup
from pipeline.runtime.manifest_file import read_absent, read_manifest_unit
from pipeline.runtime.token_store import items_of
from pipeline.runtime.units import read_rows, unit_name
from pipeline.runtime.workspace import Workspace, usable
from pipeline.select.config import SelectConfig, as_options
from pipeline.select.selection import Selection, read_selection
from pipeline.survey.absence import describe
from schemas.dataset import read_card
from schemas.dataset_files import LEDGER
from schemas.errors import DatasetError
from schemas.records import PAIRS, SURVEY, TOKENS, USER_COLUMNS, item_of
from schemas.rows import Cut, DocumentRow, ManifestItem, SurveyRow, document_rows, survey_rows
from schemas.storage.location import Location
from schemas.tables import read_table

State = Literal["kept", "rejected", "pending", "not applicable", "done", "packed", "taken down", "absent"]
_LISTED = 20  # pairs, and items of a cluster


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measured number with its limit."""

    name: str
    value: float | str  # "nan" or "inf" as text, which JSON cannot hold as a number
    at_least: float | None
    at_most: float | None
    violation: str | None  # the reason for which the limit rejects the item
    description: str


@dataclass(frozen=True, kw_only=True)
class SharedContent:
    """Another content that shares a part with this item."""

    content_id: str
    addresses: list[str]
    containment: float  # share of this item that the other contains, 0 to 1
    containment_of_other: float
    similarity: float  # of the shared part, 0 to 1
    shared: Sequence[Range]  # ranges of this item: seconds, or characters of the clean text


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a job decided."""

    state: State
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class SurveyHistory(Verdict):
    """The survey's verdict and facts."""

    facts: dict[str, Any] = dataclasses.field(default_factory=dict)  # columns of the survey that are set


@dataclass(frozen=True, kw_only=True)
class DedupHistory:
    """The contents that share a part with this item; at most 20 are listed."""

    state: State
    found: int = 0
    pairs: list[SharedContent] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SelectHistory(Verdict):
    """Select's verdict, the item's cluster and its split."""

    cluster: str | None = None
    cluster_size: int = 1
    cluster_items: list[str] = dataclasses.field(default_factory=list)
    kept_content: str | None = None  # content id of the duplicate that was kept instead
    kept_item: str | None = None  # its address
    split: str | None = None
    split_source: str | None = None  # what determined the split
    text_from: list[str] = dataclasses.field(default_factory=list)  # copies that captions and transcript come from
    transcript_shift_s: float | None = None  # added to the times of a copy's transcript


@dataclass(frozen=True, kw_only=True)
class TokenizeHistory(Verdict):
    """The documents made from the item."""

    documents: int = 0
    length: int = 0  # tokens
    frames: int = 0
    frames_promised: int = 0  # by the container
    cues: int = 0  # of the transcript
    cues_outside: int = 0  # left out, because they are outside the video


@dataclass(frozen=True, kw_only=True)
class PackHistory:
    """What one dataset contains of the item."""

    dataset: str
    state: State
    detail: str | None = None
    context_length: int | None = None
    split: str | None = None
    sequences: int = 0
    first: str | None = None  # key of the first sequence
    copies: int = 0
    tokens: int = 0
    address: str | None = None  # recorded in the ledger
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)  # of the whole dataset, by reason


@dataclass(frozen=True, kw_only=True)
class ItemHistory:
    """Everything that a workspace knows about one item."""

    item: dict[str, Any]  # columns of the manifest that are set
    survey: SurveyHistory
    options: str = ""  # of select, where they are not the defaults
    copies: list[str] = dataclasses.field(default_factory=list)  # addresses with the same content
    measures: list[Measure] = dataclasses.field(default_factory=list)
    cuts: list[Cut] = dataclasses.field(default_factory=list)
    dedup: DedupHistory = DedupHistory(state="pending")
    select: SelectHistory = SelectHistory(state="pending")
    tokenize: TokenizeHistory = TokenizeHistory(state="pending")
    pack: list[PackHistory] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the history as JSON values; fields that are not set are left out, empty lists are kept."""
        return _without_none(dataclasses.asdict(self))


def read_history(workspace: Workspace, item: str) -> ItemHistory:
    """Return the history of an item. `ItemLookup.find` describes what `item` may be, and what is raised."""
    lookup = ItemLookup.of(workspace)
    selection = _read_selection(workspace)
    uri = _prefer_kept(lookup.find(item), selection)
    row = _read_row(workspace.survey, workspace.unit_of(uri), uri)
    if row is None:
        listed_unit = read_manifest_unit(workspace, workspace.unit_of(uri))
        (listed,) = (item for item in listed_unit.items if item.uri == uri)
        return ItemHistory(item=_manifest_columns(listed), survey=SurveyHistory(state="pending"))
    judged = _read_row(workspace.selection, workspace.unit_of(row.identity), uri) if selection else None
    config = selection.config if selection else SelectConfig()
    return ItemHistory(
        item=_manifest_columns(dataclasses.replace(judged or row, split=row.split)),
        survey=_surveyed(row, read_absent(workspace).get(uri)),
        copies=[other for other in lookup.addresses(row.content_id) if other != uri],
        options=as_options(config),
        measures=measures_of(numbers(row), config.limits),
        cuts=list((judged or row).cuts),
        dedup=_dedup(workspace, row.content_id, lookup),
        select=_select(row, judged, selection, lookup) if selection and judged else SelectHistory(state="pending"),
        tokenize=_tokenize(workspace, judged),
        pack=list(_packed(workspace, row.document_id)),
    )


def _surveyed(row: SurveyRow, absence: str | None) -> SurveyHistory:
    history = SurveyHistory(**_verdict(row), facts=_facts(row))
    if absence is None:
        return history
    return dataclasses.replace(history, detail=f"absent ({describe(absence)}) and kept as it was; --prune removes it")


def measures_of(found: Mapping[str, float], limits: Mapping[str, Limit]) -> list[Measure]:
    """Return every number with its limit: first those that have one, in the order of the limits."""
    names = [*(name for name in limits if name in found), *sorted(name for name in found if name not in limits)]
    return [_measure(found[name], limits.get(name, Limit(name))) for name in names]


def _measure(value: float, limit: Limit) -> Measure:
    violation = limit.reject(value)
    return Measure(
        name=limit.name,
        value=value if math.isfinite(value) else str(value),
        at_least=None if math.isinf(limit.low) else limit.low,
        at_most=None if math.isinf(limit.high) else limit.high,
        violation=violation[0].value if violation else None,
        description=limit.what,
    )


def _without_none(value: Any) -> Any:
    if isinstance(value, Cut):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return [_without_none(entry) for entry in value] if isinstance(value, list | tuple) else value


def _manifest_columns(item: ManifestItem) -> dict[str, Any]:
    columns = {name: getattr(item, name) for name in USER_COLUMNS}
    return {name: value for name, value in columns.items() if value not in (None, ())}


def _facts(row: SurveyRow) -> dict[str, Any]:
    """Return the facts that are set, as JSON values."""
    facts: dict[str, Any] = {
        name: getattr(row, name) for name in ("document_id", "content_id", "size_bytes", "container")
    }
    for part in (row.visual, row.text):
        facts |= {f.name: getattr(part, f.name) for f in dataclasses.fields(part)} if part else {}
    return {name: value for name, value in facts.items() if value is not None}


def _verdict(row: SurveyRow | DocumentRow) -> dict[str, Any]:
    return {"state": "rejected" if row.reason else "kept", "reason": row.reason, "detail": row.detail}


def _read_row(folder: Location, unit: int, uri: str) -> SurveyRow | None:
    """Return the item's row of a survey or selection unit, None if there is none yet."""
    path = folder / f"{unit_name(unit)}.parquet"
    if not path.exists():
        return None
    table = read_rows(path, SURVEY)
    return next(iter(survey_rows(table.filter(pc.equal(table["uri"], uri)))), None)


def _read_selection(workspace: Workspace) -> Selection | None:
    try:
        return read_selection(workspace, ["uri", "reason", "cluster", "split"])
    except DatasetError:  # absent or unfinished
        return None


def _prefer_kept(found: list[str], selection: Selection | None) -> str:
    """Return the copy that select kept, else the first."""
    if len(found) > 1 and selection:
        kept = usable(selection.rows)["uri"]
        return next(iter(kept.filter(pc.is_in(kept, pa.array(found, pa.string()))).to_pylist()), found[0])
    return found[0]


def _dedup(workspace: Workspace, content_id: str | None, lookup: ItemLookup) -> DedupHistory:
    if not workspace.pairs.exists():
        return DedupHistory(state="pending")
    name = content_id or ""
    of_item = (pc.field("a") == name) | (pc.field("b") == name)
    try:
        rows = read_table(workspace.pairs, PAIRS.names, filters=of_item).to_pylist()
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel dedup` again") from e
    pairs = sorted(
        (_shared(Pair.from_row(row), name, lookup) for row in rows), key=lambda p: (-p.containment, p.content_id)
    )
    return DedupHistory(state="done", found=len(pairs), pairs=pairs[:_LISTED])


def _shared(pair: Pair, content_id: str, lookup: ItemLookup) -> SharedContent:
    other = pair.other(content_id)
    return SharedContent(
        content_id=other,
        addresses=lookup.addresses(other, 1),
        containment=pair.containment_of(content_id),
        containment_of_other=pair.containment_of(other),
        similarity=pair.similarity,
        shared=pair.shared_ranges_of(content_id),
    )


def _select(row: SurveyRow, judged: SurveyRow, selection: Selection, lookup: ItemLookup) -> SelectHistory:
    members = selection.rows.filter(pc.equal(selection.rows["cluster"], judged.cluster))["uri"]
    history = SelectHistory(**_verdict(judged), cluster=judged.cluster, cluster_size=len(members))
    if len(members) > 1:
        listed = members.sort().slice(0, _LISTED).to_pylist()
        history = dataclasses.replace(history, cluster_items=listed)
    if judged.kept_content_id:
        kept = _kept_address(judged.kept_content_id, selection, lookup)
        history = dataclasses.replace(history, kept_content=judged.kept_content_id, kept_item=kept)
    if not judged.reason:
        history = dataclasses.replace(
            history,
            split=judged.split,
            split_source=_split_source(row, members, lookup),
            text_from=list(judged.text_from),
            transcript_shift_s=judged.transcript_shift_s,
        )
    return history


def _kept_address(content_id: str, selection: Selection, lookup: ItemLookup) -> str | None:
    kept = usable(selection.rows)["uri"]
    copies = lookup.addresses(content_id, len(lookup.table))
    return next(iter(kept.filter(pc.is_in(kept, pa.array(copies, pa.string()))).to_pylist()), None)


def _split_source(row: SurveyRow, members: pa.ChunkedArray, lookup: ItemLookup) -> str:
    if row.split:
        return "the manifest"
    in_cluster = pc.is_in(lookup.table["uri"], members.combine_chunks())
    if len(lookup.table["split"].filter(in_cluster).drop_null()):
        return "the manifest, through another item of the cluster"
    return "a hash of the cluster"


def _tokenize(workspace: Workspace, judged: SurveyRow | None) -> TokenizeHistory:
    if judged is None:
        return TokenizeHistory(state="pending")
    if judged.reason:
        return TokenizeHistory(state="not applicable")
    path = workspace.tokens / f"{unit_name(workspace.unit_of(judged.identity))}.parquet"
    rows: list[DocumentRow] = []
    if path.exists():
        table = read_rows(path, TOKENS)
        rows = document_rows(table.filter(pc.equal(items_of(table["document_id"]), judged.document_id)))
    if not rows:
        return TokenizeHistory(state="pending")
    if rows[0].reason:
        return TokenizeHistory(**_verdict(rows[0]))
    return TokenizeHistory(
        **_verdict(rows[0]),
        documents=len(rows),
        length=sum(row.length for row in rows),
        frames=sum(row.frames for row in rows),
        frames_promised=sum(row.frames_promised for row in rows),
        cues=sum(row.cues for row in rows),
        cues_outside=sum(row.cues_outside for row in rows),
    )


def _packed(workspace: Workspace, document_id: str | None) -> Iterator[PackHistory]:
    """Yield for each dataset what it contains of the item, according to its ledger."""
    for folder in workspace.datasets():
        name = f"packed/{folder.name}"
        try:
            card = read_card(folder)
        except DatasetError as e:
            yield PackHistory(dataset=name, state="pending", detail=str(e))
            continue
        rows = _ledger_rows(card.file(folder, LEDGER), document_id or "")
        if len(rows):
            yield _pack_history(name, card.context_length, rows)
        elif any(item_of(name) == document_id for name in card.taken_down):
            yield PackHistory(dataset=name, state="taken down", context_length=card.context_length)
        else:
            left_out = dict(card.left_out)
            yield PackHistory(dataset=name, state="absent", context_length=card.context_length, left_out=left_out)


def _pack_history(dataset: str, context_length: int, rows: pa.Table) -> PackHistory:
    sequences = pc.unique(rows["sequence"])
    return PackHistory(
        dataset=dataset,
        state="packed",
        context_length=context_length,
        split=rows["split"][0].as_py(),
        sequences=len(sequences),
        first=sequences[0].as_py(),
        copies=pc.max(rows["copy"]).as_py() + 1,
        tokens=pc.sum(rows["length"]).as_py(),
        address=rows["uri"][0].as_py(),
    )


def _ledger_rows(path: Location, document_id: str) -> pa.Table:
    columns = ["sequence", "length", "copy", "split", "uri"]
    of_item = (pc.field("document_id") == document_id) | pc.starts_with(pc.field("document_id"), f"{document_id}#")
    try:
        return read_table(path, columns, filters=of_item)
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel verify` for a full check") from e
