"""The items of a workspace as a table: which were kept and which rejected, by which job and for which reason.

Only the columns that are listed are read, and they stay Arrow columns, so a million items take seconds. The verdict of
an item is that of the last job that judged it: tokenize, select or survey; an item that no job has judged is pending.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from pipeline.kinds.registry import kinds
from pipeline.runtime.manifest_file import read_listed
from pipeline.runtime.token_store import items_of
from pipeline.runtime.units import read_rows, unit_files
from pipeline.runtime.workspace import Workspace
from pipeline.select.selection import read_selection
from schemas.errors import ConfigError, DatasetError, Reason
from schemas.records import MANIFEST, SPLITS, SURVEY, TOKENS

KEPT, REJECTED, PENDING = "kept", "rejected", "pending"
UNKNOWN = "unknown"  # selects items without a license or source
FIELDS = (
    *("uri", "kind", "state", "job", "reason", "detail", "split", "license", "source", "title"),
    *("document_id", "content_id"),
)
"""Fields of every row, in order. `state` is kept, rejected or pending; `job` is the one that rejected the item (survey,
select or tokenize) and null otherwise, as is `reason`; `split` is null unless the item is kept."""

_COLUMNS = (*("uri", "kind", "reason", "detail", "split", "license", "source", "title", "document_id", "content_id"),)
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])
_SHOWN = ("uri", "kind", "state", "reason", "split", "license", "source", "detail")


@dataclass(frozen=True, kw_only=True)
class ItemFilter:
    """Which items are listed; those that fulfil all conditions. A condition with several values is fulfilled by one."""

    state: str | None = None
    reasons: Sequence[str] = ()
    kinds: Sequence[str] = ()
    splits: Sequence[str] = ()
    licenses: Sequence[str] = ()  # in any case; UNKNOWN: none
    sources: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, given, known in (
            ("reason", self.reasons, [reason.value for reason in Reason]),
            ("kind", self.kinds, list(kinds())),
            ("split", self.splits, list(SPLITS)),
        ):
            for value in given:
                if value not in known:
                    near = difflib.get_close_matches(value, known, n=1, cutoff=0.4)
                    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                    raise ConfigError(f"unknown {name} {value!r}; {hint}")

    def apply(self, items: pa.Table) -> pa.Table:
        """Return the items that fulfil the conditions."""
        if self.state:
            items = items.filter(pc.equal(items["state"], self.state))
        for column, values in (("reason", self.reasons), ("kind", self.kinds), ("split", self.splits)):
            if values:
                items = items.filter(pc.is_in(items[column], pa.array(values, pa.string())))
        for column, values in (("license", self.licenses), ("source", self.sources)):
            if values:
                found = pc.utf8_lower(pc.utf8_trim_whitespace(pc.fill_null(items[column], UNKNOWN)))
                items = items.filter(pc.is_in(found, pa.array([value.strip().lower() for value in values])))
        return items


def list_items(workspace: Workspace, wanted: ItemFilter) -> pa.Table:
    """Return the items that fulfil the conditions, with the columns FIELDS, sorted by address."""
    items = wanted.apply(_with_verdicts(workspace))
    return items.sort_by("uri").select(FIELDS)


def _with_verdicts(workspace: Workspace) -> pa.Table:
    surveyed = _surveyed(workspace)
    judged = _selected(workspace)
    not_judged = _others(surveyed, judged)
    listed = _listed(workspace)
    not_surveyed = _others(listed, surveyed)
    if not len(surveyed) + len(listed):
        raise DatasetError(
            f"{workspace.root} lists no items: run `longreel survey INPUT ... --out {workspace.root}` first"
        )
    by_survey = surveyed.filter(pc.is_valid(surveyed["reason"]))["uri"].combine_chunks()
    pending = pc.is_null(not_judged["reason"])
    parts = [
        _stated(judged, pc.if_else(pc.is_in(judged["uri"], by_survey), "survey", "select"), pending=False),
        _stated(not_judged.filter(pc.invert(pending)), "survey", pending=False),
        _stated(not_judged.filter(pending), "survey", pending=True),
        _stated(not_surveyed, "survey", pending=True),
    ]
    return _with_tokenize_verdicts(workspace, pa.concat_tables(parts))


def _surveyed(workspace: Workspace) -> pa.Table:
    units = (read_rows(path, SURVEY, _COLUMNS) for path in unit_files(workspace.survey))
    return pa.concat_tables([_SCHEMA.empty_table(), *(unit.cast(_SCHEMA) for unit in units)])


def _selected(workspace: Workspace) -> pa.Table:
    try:
        rows = read_selection(workspace, _COLUMNS).rows.cast(_SCHEMA)
    except DatasetError:  # absent or unfinished
        return _SCHEMA.empty_table()
    is_address = pc.equal(rows["content_id"], rows["uri"])  # select's name for an item without content
    content = pc.if_else(is_address, pa.scalar(None, pa.string()), rows["content_id"])
    return rows.set_column(_COLUMNS.index("content_id"), "content_id", content)


def _listed(workspace: Workspace) -> pa.Table:
    """Return the rows of the manifest; those that it rejects have a reason."""
    if not workspace.manifest.exists():
        return _SCHEMA.empty_table()
    names = [name for name in _COLUMNS if name in MANIFEST.names]
    table = read_listed(workspace, names)
    for name in _COLUMNS:
        if name not in names:
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
    return table.select(_COLUMNS).cast(_SCHEMA)


def _others(rows: pa.Table, known: pa.Table) -> pa.Table:
    """Return the rows whose addresses are not `known`."""
    return rows.filter(pc.invert(pc.is_in(rows["uri"], known["uri"].combine_chunks())))


def _stated(rows: pa.Table, job: pa.ChunkedArray | str, *, pending: bool) -> pa.Table:
    """Add state and job; an item that is not kept has no split."""
    is_rejected = pc.is_valid(rows["reason"])
    kept = pa.scalar(PENDING if pending else KEPT)
    nothing = pa.scalar(None, pa.string())
    split = pc.if_else(is_rejected, nothing, rows["split"]) if not pending else pa.nulls(len(rows), pa.string())
    return (
        rows.set_column(_COLUMNS.index("split"), "split", split)
        .append_column("state", pc.if_else(is_rejected, pa.scalar(REJECTED), kept))
        .append_column("job", pc.if_else(is_rejected, job, nothing))
    )


def _with_tokenize_verdicts(workspace: Workspace, items: pa.Table) -> pa.Table:
    """Replace the verdicts of kept items that tokenize rejected."""
    names = ["document_id", "reason", "detail"]
    units = []
    for path in unit_files(workspace.tokens):
        unit = read_rows(path, TOKENS, names)
        units.append(unit.filter(pc.is_valid(unit["reason"])))
    lost = pa.concat_tables(units).combine_chunks() if units else TOKENS.empty_table().select(names)
    if not len(lost):
        return items
    at = pc.index_in(items["document_id"], items_of(lost["document_id"]).combine_chunks())
    is_lost = pc.and_(pc.is_valid(at), pc.equal(items["state"], KEPT))
    new = {name: lost[name].take(at) for name in ("reason", "detail")}
    new |= {"state": pa.scalar(REJECTED), "job": pa.scalar("tokenize"), "split": pa.scalar(None, pa.string())}
    for name, values in new.items():
        column = pc.if_else(is_lost, values, items[name])
        items = items.set_column(items.column_names.index(name), name, column)
    return items


def json_lines(items: pa.Table) -> Iterator[str]:
    """Yield each item as a JSON object with the keys FIELDS."""
    for batch in items.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            yield json.dumps(row)


def items_table(items: pa.Table) -> Table:
    """Return the items as a table for `pipeline.runtime.progress.output`, which escapes control characters."""
    shown = [name for name in _SHOWN if name in ("uri", "kind", "state") or items[name].null_count < len(items)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        wide = name in ("uri", "detail")
        table.add_column(name, overflow="fold" if wide else "ellipsis", no_wrap=not wide, ratio=None)
    for row in items.select(shown).to_pylist():
        table.add_row(*(row[name] or "" for name in shown))
    return table
