"""The data of the report: one joined table of all items, and the funnel of the jobs that processed them.

Tables are read by column and stay Arrow tables; only counts, and the few items shown as examples, become Python
objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.manifest_file import read_listed
from pipeline.runtime.token_store import items_of
from pipeline.runtime.units import read_rows, unit_files, unit_number
from pipeline.runtime.workspace import Workspace, usable
from pipeline.select.config import SelectConfig
from pipeline.select.selection import read_selection
from schemas.counted import counted
from schemas.dataset import DatasetCard, read_card
from schemas.dataset_files import LEDGER
from schemas.errors import DatasetError
from schemas.records import SURVEY, TOKENS
from schemas.storage.location import Location
from schemas.tables import open_table

_SURVEY_COLUMNS = (
    *("uri", "kind", "title", "source", "license", "content_id", "document_id", "duration_s", "width", "height"),
    *("encoding", "language", "measures", "reason", "detail"),
)
_SELECTION_COLUMNS = ("uri", "split", "cuts", "kept_content_id", "reason", "detail")
_TOKENS_COLUMNS = (
    "document_id",
    "uri",
    "kind",
    "split",
    "length",
    "frames",
    "cues",
    "cues_outside",
    "reason",
    "detail",
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the funnel: `items_in` = `kept` + the sum of `rejected` + `pending`."""

    name: str
    items_in: int
    kept: int
    rejected: Mapping[str, int]  # by reason, most frequent first
    pending: int = 0  # not processed yet
    note: str = ""

    @property
    def rejected_total(self) -> int:
        """Number of rejected items, whatever the reason."""
        return sum(self.rejected.values())


class Dataset(NamedTuple):
    """A packed dataset: its card and the ids of the documents it contains."""

    card: DatasetCard
    documents: pa.Array


@dataclass(frozen=True, kw_only=True)
class Items:
    """All items of a workspace with the results of every job that has run."""

    listed: pa.Table  # uri, kind
    surveyed: pa.Table  # _SURVEY_COLUMNS and unit, joined with the columns of the selection; see `_with_verdicts`
    tokenized: pa.Table  # _TOKENS_COLUMNS, of the selected items
    datasets: Mapping[str, Dataset]
    unfinished: Sequence[str]  # names of datasets without a card
    selection: SelectConfig | None  # None where there is no finished selection

    @classmethod
    def read(cls, workspace: Workspace) -> Items:
        """Read the tables that exist; raises DatasetError for a unit that is damaged or has another schema version."""
        surveyed = _with_verdicts(*_survey_and_selection(workspace))
        listed = surveyed.select(["uri", "kind"])
        if workspace.manifest.exists():
            listed = read_listed(workspace, ["uri", "kind"])
            surveyed = surveyed.filter(pc.is_in(surveyed["uri"], listed["uri"].combine_chunks()))
        selection = _selection(workspace)
        kept = kept_items(surveyed)["document_id"].combine_chunks()
        units = [read_rows(path, TOKENS, _TOKENS_COLUMNS) for path in unit_files(workspace.tokens)]
        tokenized = pa.concat_tables([TOKENS.empty_table().select(_TOKENS_COLUMNS), *units])
        datasets: dict[str, Dataset] = {}
        unfinished = []
        for folder in workspace.datasets():
            try:
                card = read_card(folder)
                datasets[folder.name] = Dataset(card, _documents(card.file(folder, LEDGER)))
            except DatasetError:
                unfinished.append(folder.name)
        return cls(
            listed=listed,
            surveyed=surveyed,
            tokenized=tokenized.filter(pc.is_in(items_of(tokenized["document_id"]), kept)),
            datasets=dict(sorted(datasets.items(), key=lambda pair: (pair[1].card.context_length, pair[0]))),
            unfinished=unfinished,
            selection=selection[0] if selection else None,
        )

    def steps(self) -> Iterator[Step]:
        """Yield the steps of the funnel, in the order of the jobs."""
        rows = self.surveyed
        seen = rows.filter(pc.is_null(rows["unusable"]))
        unusable = counts(rows["unusable"].drop_null())
        yield Step(
            name="survey",
            items_in=len(self.listed),
            kept=len(seen),
            rejected=unusable,
            pending=len(self.listed) - len(rows),
        )
        judged = seen.filter(seen["judged"])
        kept = usable(judged)
        yield Step(
            name="select",
            items_in=len(seen),
            kept=len(kept),
            rejected=counts(judged["reason"].drop_null()),
            pending=len(seen) - len(judged),
        )
        documents, failed = usable(self.tokenized), counts(self.tokenized["reason"].drop_null())
        items = pc.count_distinct(items_of(documents["document_id"])).as_py()
        yield Step(
            name="tokenize",
            items_in=len(kept),
            kept=items,
            rejected=failed,
            pending=len(kept) - items - sum(failed.values()),
            note=f"as {counted(len(documents), 'document')}, one per clip" if len(documents) > items else "",
        )
        for name, dataset in self.datasets.items():
            yield _pack_step(name, dataset, documents["document_id"])

    def kinds(self) -> Iterator[tuple[str, list[int]]]:
        """Yield each kind with its number of items that are listed, usable, selected and tokenized."""
        seen = self.surveyed.filter(pc.is_null(self.surveyed["unusable"]))
        made = usable(self.tokenized)
        made = made.set_column(0, "document_id", items_of(made["document_id"]))
        items = (
            made.group_by("document_id", use_threads=False)
            .aggregate([("kind", "first")])
            .rename_columns(["id", "kind"])
        )
        stages = [counts(t["kind"]) for t in (self.listed, seen, kept_items(self.surveyed), items)]
        for kind in sorted(stages[0]):
            yield kind, [stage.get(kind, 0) for stage in stages]


def kept_items(surveyed: pa.Table) -> pa.Table:
    """Return the items that select kept."""
    return surveyed.filter(pc.and_(surveyed["judged"], pc.is_null(surveyed["reason"])))


def counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Count the values of a column of strings, most frequent first."""
    found = [(row["values"], row["counts"]) for row in pc.value_counts(column).to_pylist()]
    return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))


def _survey_and_selection(workspace: Workspace) -> tuple[pa.Table, pa.Table]:
    schema = pa.schema([*(SURVEY.field(name) for name in _SURVEY_COLUMNS), pa.field("unit", pa.int32())])
    tables = [schema.empty_table()]
    for path in unit_files(workspace.survey):
        table = read_rows(path, SURVEY, _SURVEY_COLUMNS)
        unit = pa.array([unit_number(path)] * len(table), pa.int32())
        tables.append(table.append_column(schema.field("unit"), unit))
    selection = _selection(workspace)
    judged = selection[1] if selection else SURVEY.empty_table().select(_SELECTION_COLUMNS)
    return pa.concat_tables(tables), judged


def _selection(workspace: Workspace) -> tuple[SelectConfig, pa.Table] | None:
    try:
        selection = read_selection(workspace, _SELECTION_COLUMNS)
    except DatasetError:  # absent or unfinished
        return None
    return selection.config, selection.rows


def _with_verdicts(surveyed: pa.Table, judged: pa.Table) -> pa.Table:
    """Join the columns of the selection to those of the survey.

    `unusable` is the survey's reason; `judged` tells whether select has seen the item; `reason` and `detail` are the
    selection's where it has, else the survey's. `split`, `cuts` and `kept_content_id` are null for items not judged.
    """
    at = pc.index_in(surveyed["uri"], judged["uri"].combine_chunks())
    found = judged.take(at)  # a row of nulls where there is none
    is_judged = pc.is_valid(at)
    table = surveyed.rename_columns(["unusable" if name == "reason" else name for name in surveyed.column_names])
    for name in ("split", "cuts", "kept_content_id"):
        table = table.append_column(name, found[name])
    reason = pc.if_else(is_judged, found["reason"], table["unusable"])
    detail = pc.if_else(is_judged, found["detail"], table["detail"])
    table = table.drop_columns(["detail"]).append_column("reason", reason).append_column("detail", detail)
    return table.append_column("judged", is_judged)


def _documents(ledger: Location) -> pa.Array:
    """Return the distinct ids of the documents in a dataset."""
    try:
        with open_table(ledger) as file:
            groups = range(file.num_row_groups)
            ids = [pc.unique(file.read_row_group(n, columns=["document_id"])["document_id"]) for n in groups]
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel verify` for a full check") from e
    return pc.unique(pa.chunked_array(ids, pa.string()))


def _pack_step(name: str, dataset: Dataset, made: pa.ChunkedArray) -> Step:
    """Count the tokenized documents that a dataset contains. Any others in it come from an earlier selection."""
    packed = pc.sum(pc.is_in(made, dataset.documents)).as_py() or 0
    taken_down = pc.sum(pc.is_in(made, pa.array(dataset.card.taken_down, pa.string()))).as_py() or 0
    rest = len(made) - packed - taken_down
    left_out = dict(dataset.card.left_out)
    if sum(left_out.values()) != rest:  # documents were tokenized after it was packed
        left_out = {"not packed": rest}
    rejected = {reason: n for reason, n in {**left_out, "taken down": taken_down}.items() if n}
    old = len(dataset.documents) - packed
    note = f"also contains {counted(old, 'document')} no longer selected" if old else ""
    return Step(name=f"pack {name}", items_in=len(made), kept=packed, rejected=rejected, note=note)
