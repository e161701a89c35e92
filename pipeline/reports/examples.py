"""The items that the report shows: kept ones, rejected ones by reason, and groups of duplicates side by side.

A fixed number of each, chosen by unit and content id: both are hashes, so the choice is as good as drawn by chance, and
is the same every time. Thumbnails are read of the chosen items alone, which lie in few units.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.reports.funnel import TEXT_KINDS, Items, counts, going_on
from pipeline.reports.tables import duration
from pipeline.runtime.units import unit_name
from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError, Reason
from schemas.records import SIGNATURES

SHOWN = 12  # items of a section, and groups of duplicates
_IN_GROUP = 6  # items of a group
_MAX_BYTES = 200_000  # of a thumbnail; a larger one is none of ours
_BATCH = 256  # thumbnails in memory
_COLUMNS = (
    *("uri", "kind", "title", "unit", "document_id", "content_id"),
    *("keeper", "split", "reason", "detail", "judged", "duration_s", "width", "height", "measures"),
)
Row = Mapping[str, Any]
_COPIES = (Reason.DUPLICATE.value, Reason.NEAR_DUPLICATE.value)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One item as it is shown."""

    name: str
    address: str
    kind: str
    facts: str  # how large it is
    words: str  # what was decided about it
    picture: str | None  # a data URI


@dataclass(frozen=True, kw_only=True)
class Section:
    """Some items of a kind of verdict, and how many there are of them."""

    name: str
    total: int
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """An item that is kept, first, and those that were set aside for it."""

    cards: tuple[Card, ...]
    more: int  # that are not shown


@dataclass(frozen=True, kw_only=True)
class Samples:
    """All that is shown of single items."""

    kept: Section
    rejected: tuple[Section, ...]
    groups: tuple[Group, ...]
    groups_total: int


def choose_samples(workspace: Workspace, items: Items) -> Samples:
    """Choose the items and read their thumbnails."""
    order = [("unit", "ascending"), ("content_id", "ascending"), ("uri", "ascending")]
    rows = _with_tokenized(items).sort_by(order)
    on = going_on(rows)
    is_text = pc.is_in(on["kind"], TEXT_KINDS)
    kept = [row for mask in (pc.invert(is_text), is_text) for row in on.filter(mask).slice(0, SHOWN).to_pylist()]
    rejected = {
        reason: (n, rows.filter(pc.equal(rows["reason"], reason)).slice(0, SHOWN).to_pylist())
        for reason, n in counts(rows["reason"].drop_null()).items()
        if reason not in _COPIES
    }
    total, groups = _groups(rows)
    in_groups = itertools.chain.from_iterable(members for members, _ in groups)
    pictures = read_thumbnails(workspace, [*kept, *(row for _, some in rejected.values() for row in some), *in_groups])
    return Samples(
        kept=Section(name="kept", total=len(on), cards=_cards(kept, pictures)),
        rejected=tuple(
            Section(name=reason, total=n, cards=_cards(some, pictures)) for reason, (n, some) in rejected.items()
        ),
        groups=tuple(Group(cards=_cards(members, pictures), more=more) for members, more in groups),
        groups_total=total,
    )


def _with_tokenized(items: Items) -> pa.Table:
    """Return the items with the verdict of tokenizing in the place of select's, where it set one aside."""
    rows = items.surveyed.select(_COLUMNS)
    lost = items.tokenized.filter(pc.is_valid(items.tokenized["reason"]))
    going = pc.and_(rows["judged"], pc.is_null(rows["reason"]))
    at = pc.index_in(rows["document_id"], lost["document_id"].combine_chunks())
    at = pc.if_else(going, at, pa.scalar(None, pa.int32()))
    for name in ("reason", "detail"):
        rows = rows.set_column(_COLUMNS.index(name), name, pc.coalesce(lost[name].take(at), rows[name]))
    return rows


def _groups(rows: pa.Table) -> tuple[int, list[tuple[list[Row], int]]]:
    """Return how many groups there are; of the first ones the members, the kept one ahead, and how many more."""
    copies = rows.filter(pc.is_in(rows["reason"], pa.array(_COPIES)))
    sizes = counts(copies["keeper"].drop_null())
    kept = rows.filter(pc.and_(rows["judged"], pc.invert(pc.is_in(rows["reason"], pa.array(_COPIES)))))
    kept = kept.filter(pc.is_in(kept["content_id"], pa.array(list(sizes), pa.string())))
    groups = []
    for first in kept.slice(0, SHOWN).to_pylist():
        others = copies.filter(pc.equal(copies["keeper"], first["content_id"])).slice(0, _IN_GROUP - 1).to_pylist()
        groups.append(([first, *others], sizes[first["content_id"]] - len(others)))
    return len(sizes), groups


def read_thumbnails(workspace: Workspace, rows: Iterable[Row]) -> dict[str, str]:
    """Return the thumbnails of items as data URIs by content id; those that have none, or no WebP, are left out."""
    wanted: dict[int, set[str]] = {}
    for row in rows:
        if row["content_id"] is not None:
            wanted.setdefault(row["unit"], set()).add(row["content_id"])
    pictures: dict[str, str] = {}
    for unit, names in sorted(wanted.items()):
        path = workspace.signatures / f"{unit_name(unit)}.parquet"
        if not path.exists():
            continue
        ids = pa.array(sorted(names), pa.string())
        try:
            with pq.ParquetFile(path) as file:
                if not file.schema_arrow.equals(SIGNATURES):
                    raise DatasetError(f"{path} was written by another version; run the job that makes it again")
                for batch in file.iter_batches(_BATCH, columns=["content_id", "thumbnail"]):
                    for row in batch.filter(pc.is_in(batch["content_id"], ids)).to_pylist():
                        if _is_webp(row["thumbnail"]):
                            encoded = base64.b64encode(row["thumbnail"]).decode()
                            pictures[row["content_id"]] = f"data:image/webp;base64,{encoded}"
        except (OSError, pa.ArrowException) as e:
            raise DatasetError(f"{path} cannot be read ({e}); run the job that makes it again") from e
    return pictures


def _is_webp(data: bytes | None) -> bool:
    return data is not None and len(data) <= _MAX_BYTES and data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _facts(row: Row) -> str:
    words = dict(row["measures"] or ()).get("words")
    facts = [
        duration(row["duration_s"]) if row["kind"] == "video" and row["duration_s"] is not None else "",
        f"{row['width']} × {row['height']}" if row["width"] and row["height"] else "",
        f"{words:,.0f} words" if words is not None else "",
    ]
    return ", ".join(filter(None, facts))


def _cards(rows: Sequence[Row], pictures: Mapping[str, str]) -> tuple[Card, ...]:
    return tuple(
        Card(
            name=row["title"] or row["uri"].rsplit("/", 1)[-1],
            address=row["uri"],
            kind=row["kind"],
            facts=_facts(row),
            words=f"{row['reason']}: {row['detail']}" if row["reason"] else f"kept, {row['split']}",
            picture=pictures.get(row["content_id"]),
        )
        for row in rows
    )
