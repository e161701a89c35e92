"""Example items for the report: kept items, rejected items by reason, and groups of duplicates.

A fixed number of each is chosen in the order of unit and content id. Both are hashes, so the choice is a deterministic
random sample. Thumbnails are read for the chosen items only.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.kinds.registry import names_of_text_kinds
from pipeline.reports.funnel import Items, counts, kept_items
from pipeline.reports.names import common_folder, shortened
from pipeline.reports.tables import duration
from pipeline.runtime.units import unit_name
from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError, Reason
from schemas.records import SIGNATURES
from schemas.tables import open_table

SHOWN = 12  # items per section, and groups of duplicates
_GROUP_SIZE = 6  # items shown per group
_MAX_BYTES = 200_000  # of a thumbnail; the survey writes none as large
_BATCH = 256  # thumbnails in memory at a time
_COLUMNS = (
    *("uri", "kind", "title", "unit", "document_id", "content_id"),
    *("kept_content_id", "split", "reason", "detail", "judged", "duration_s", "width", "height", "measures"),
)
_COPIES = (Reason.DUPLICATE.value, Reason.NEAR_DUPLICATE.value)


@dataclass(frozen=True, kw_only=True)
class ExampleItem:
    """A row of the joined table of items, with the columns that a card shows."""

    uri: str
    kind: str
    title: str | None
    unit: int
    content_id: str | None
    split: str | None
    reason: str | None  # None: kept
    detail: str | None
    duration_s: float | None
    width: int | None
    height: int | None
    measures: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One item as the page shows it."""

    name: str
    address: str
    short_address: str  # without the folder that all items have in common
    kind: str
    facts: str  # duration, picture size, number of words
    reason: str  # why it was rejected; "" if kept
    decision: str  # the split if kept, else the detail
    thumbnail: str | None  # a data URI


@dataclass(frozen=True, kw_only=True)
class Section:
    """Some of the items with one verdict, and the number of all."""

    name: str
    total: int
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """A kept item followed by the duplicates that were rejected in its favor."""

    cards: tuple[Card, ...]
    more: int  # duplicates not shown


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All example items of the page."""

    kept: Section
    rejected: tuple[Section, ...]
    groups: tuple[Group, ...]
    groups_total: int


def choose_examples(workspace: Workspace, items: Items) -> Examples:
    """Choose the example items and read their thumbnails."""
    order = [("unit", "ascending"), ("content_id", "ascending"), ("uri", "ascending")]
    rows = _with_tokenize_verdicts(items).sort_by(order)
    kept = kept_items(rows)
    is_text = pc.is_in(kept["kind"], pa.array(names_of_text_kinds()))
    shown = [item for mask in (pc.invert(is_text), is_text) for item in _first(kept.filter(mask), SHOWN)]
    rejected = {
        reason: (n, _first(rows.filter(pc.equal(rows["reason"], reason)), SHOWN))
        for reason, n in counts(rows["reason"].drop_null()).items()
        if reason not in _COPIES
    }
    folder = common_folder(items.listed["uri"])
    total, groups = _groups(rows)
    in_groups = itertools.chain.from_iterable(members for members, _ in groups)
    thumbnails = read_thumbnails(
        workspace, [*shown, *(item for _, some in rejected.values() for item in some), *in_groups]
    )
    return Examples(
        kept=Section(name="kept", total=len(kept), cards=_cards(shown, thumbnails, folder)),
        rejected=tuple(
            Section(name=reason, total=n, cards=_cards(some, thumbnails, folder))
            for reason, (n, some) in rejected.items()
        ),
        groups=tuple(Group(cards=_cards(members, thumbnails, folder), more=more) for members, more in groups),
        groups_total=total,
    )


def _with_tokenize_verdicts(items: Items) -> pa.Table:
    """Return the items with reason and detail of tokenize, where it rejected an item that select had kept."""
    rows = items.surveyed.select(_COLUMNS)
    lost = items.tokenized.filter(pc.is_valid(items.tokenized["reason"]))
    kept = pc.and_(rows["judged"], pc.is_null(rows["reason"]))
    at = pc.index_in(rows["document_id"], lost["document_id"].combine_chunks())
    at = pc.if_else(kept, at, pa.scalar(None, pa.int32()))
    for name in ("reason", "detail"):
        rows = rows.set_column(_COLUMNS.index(name), name, pc.coalesce(lost[name].take(at), rows[name]))
    return rows


def _groups(rows: pa.Table) -> tuple[int, list[tuple[list[ExampleItem], int]]]:
    """Return the number of groups, and of the first ones the members (the kept item first) and how many more exist."""
    copies = rows.filter(pc.is_in(rows["reason"], pa.array(_COPIES)))
    sizes = counts(copies["kept_content_id"].drop_null())
    kept = rows.filter(pc.and_(rows["judged"], pc.invert(pc.is_in(rows["reason"], pa.array(_COPIES)))))
    kept = kept.filter(pc.is_in(kept["content_id"], pa.array(list(sizes), pa.string())))
    groups = []
    for first in _first(kept, SHOWN):
        assert first.content_id is not None  # it is in `sizes`
        others = _first(copies.filter(pc.equal(copies["kept_content_id"], first.content_id)), _GROUP_SIZE - 1)
        groups.append(([first, *others], sizes[first.content_id] - len(others)))
    return len(sizes), groups


def _first(rows: pa.Table, count: int) -> list[ExampleItem]:
    """Return the first `count` rows of the joined table."""
    names = [field.name for field in dataclasses.fields(ExampleItem)]
    some = rows.slice(0, count).select(names).to_pylist(maps_as_pydicts="strict")
    return [ExampleItem(**row | {"measures": row["measures"] or {}}) for row in some]


def read_thumbnails(workspace: Workspace, items: Iterable[ExampleItem]) -> dict[str, str]:
    """Return thumbnails as data URIs by content id, without those that are missing, too large or not WebP."""
    wanted: dict[int, set[str]] = {}
    for item in items:
        if item.content_id is not None:
            wanted.setdefault(item.unit, set()).add(item.content_id)
    thumbnails: dict[str, str] = {}
    for unit, names in sorted(wanted.items()):
        path = workspace.signatures / f"{unit_name(unit)}.parquet"
        if not path.exists():
            continue
        ids = pa.array(sorted(names), pa.string())
        try:
            with open_table(path) as file:
                if not file.schema_arrow.equals(SIGNATURES):
                    raise DatasetError(f"{path} has another schema version")
                for batch in file.iter_batches(_BATCH, columns=["content_id", "thumbnail"]):
                    for row in batch.filter(pc.is_in(batch["content_id"], ids)).to_pylist():
                        if _is_webp(row["thumbnail"]):
                            encoded = base64.b64encode(row["thumbnail"]).decode()
                            thumbnails[row["content_id"]] = f"data:image/webp;base64,{encoded}"
        except DatasetError as e:
            raise DatasetError(f"{e}; run `longreel survey` again") from e
    return thumbnails


def _is_webp(data: bytes | None) -> bool:
    return data is not None and len(data) <= _MAX_BYTES and data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _facts(item: ExampleItem) -> str:
    words = item.measures.get("words")
    facts = [
        duration(item.duration_s) if item.duration_s is not None else "",
        f"{item.width} × {item.height}" if item.width and item.height else "",
        f"{words:,.0f} words" if words is not None else "",
    ]
    return ", ".join(filter(None, facts))


def _decision(item: ExampleItem, folder: str) -> str:
    """Return the split of a kept item, or the detail of the rejection, in which addresses are shortened."""
    if item.reason is None:
        return f"kept, {item.split}"
    detail = item.detail or ""
    return detail.replace(folder, "…/") if folder else detail


def _cards(items: Sequence[ExampleItem], thumbnails: Mapping[str, str], folder: str) -> tuple[Card, ...]:
    return tuple(
        Card(
            name=item.title or item.uri.rsplit("/", 1)[-1],
            address=item.uri,
            short_address=shortened(item.uri, folder),
            kind=item.kind,
            facts=_facts(item),
            reason=item.reason or "",
            decision=(item.detail or "").replace(folder, "…/" if folder else "")
            if item.reason
            else f"kept, {item.split}",
            thumbnail=thumbnails.get(item.content_id or ""),
        )
        for item in items
    )
