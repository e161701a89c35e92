"""What the report is made of: the items as one table, and the funnel that they came through.

Tables are read by columns and stay Arrow tables; what becomes a Python object is counts, and the few items shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runtime.token_store import items_of
from pipeline.runtime.units import read_rows, unit_files, unit_number
from pipeline.runtime.workspace import Workspace, usable
from pipeline.select.config import SelectConfig
from pipeline.select.selection import read_selection
from schemas.dataset import LEDGER, DatasetCard, read_card
from schemas.errors import DatasetError
from schemas.records import SURVEY, TOKENS

_SURVEYED = (
    *("uri", "kind", "title", "source", "license", "content_id", "document_id", "duration_s", "width", "height"),
    *("encoding", "language", "measures", "reason", "detail"),
)
TEXT_KINDS = pa.array(["book", "qa"])
_JUDGED = ("uri", "split", "cuts", "keeper", "reason", "detail")
_TOKENIZED = ("document_id", "uri", "kind", "split", "length", "frames", "reason", "detail")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the funnel: `came` = `on` + the sum of `aside` + `waiting`."""

    name: str
    came: int
    on: int
    aside: Mapping[str, int]  # by reason, the most frequent first
    waiting: int = 0  # the job has not come to them yet
    note: str = ""

    @property
    def set_aside(self) -> int:
        """How many were set aside."""
        return sum(self.aside.values())


class Dataset(NamedTuple):
    """A packed dataset: its card, and the ids of the documents that lie in it."""

    card: DatasetCard
    documents: pa.Array


@dataclass(frozen=True, kw_only=True)
class Items:
    """A workspace's items as far as they have come."""

    listed: pa.Table  # uri, kind
    surveyed: pa.Table  # _SURVEYED and unit; then split, cuts, keeper, judged (whether select saw it), and its verdict
    tokenized: pa.Table  # _TOKENIZED, of what was selected
    datasets: Mapping[str, Dataset]
    unfinished: Sequence[str]  # names of datasets without a card
    selection: SelectConfig | None  # None where there is no finished selection

    @classmethod
    def read(cls, workspace: Workspace) -> Items:
        """Read what there is; raises DatasetError for a unit that is damaged or of another version."""
        surveyed = _with_verdicts(*_survey_and_selection(workspace))
        listed = surveyed.select(["uri", "kind"])
        if workspace.manifest.exists():
            listed = pq.read_table(workspace.manifest, columns=["uri", "kind"])
            surveyed = surveyed.filter(pc.is_in(surveyed["uri"], listed["uri"].combine_chunks()))
        selection = _selection(workspace)
        going = going_on(surveyed)["document_id"].combine_chunks()
        units = [read_rows(path, TOKENS, _TOKENIZED) for path in unit_files(workspace.tokens)]
        tokenized = pa.concat_tables([TOKENS.empty_table().select(_TOKENIZED), *units])
        datasets: dict[str, Dataset] = {}
        unfinished = []
        for folder in sorted(path for path in (workspace.root / "packed").glob("*") if path.is_dir()):
            try:
                datasets[folder.name] = Dataset(read_card(folder), _documents(folder / LEDGER))
            except DatasetError:
                unfinished.append(folder.name)
        return cls(
            listed=listed,
            surveyed=surveyed,
            tokenized=tokenized.filter(pc.is_in(items_of(tokenized["document_id"]), going)),
            datasets=dict(sorted(datasets.items(), key=lambda pair: (pair[1].card.context_length, pair[0]))),
            unfinished=unfinished,
            selection=selection[0] if selection else None,
        )

    def steps(self) -> Iterator[Step]:
        """Yield the funnel."""
        rows = self.surveyed
        seen = rows.filter(pc.is_null(rows["unusable"]))
        unusable = counts(rows["unusable"].drop_null())
        yield Step(
            name="survey", came=len(self.listed), on=len(seen), aside=unusable, waiting=len(self.listed) - len(rows)
        )
        judged = seen.filter(seen["judged"])
        on = usable(judged)
        yield Step(
            name="select",
            came=len(seen),
            on=len(on),
            aside=counts(judged["reason"].drop_null()),
            waiting=len(seen) - len(judged),
        )
        made, failed = usable(self.tokenized), counts(self.tokenized["reason"].drop_null())
        items = pc.count_distinct(items_of(made["document_id"])).as_py()
        waiting = len(on) - items - sum(failed.values())
        note = f"as {len(made):,} documents, one a clip" if len(made) > items else ""
        yield Step(name="tokenize", came=len(on), on=items, aside=failed, waiting=waiting, note=note)
        for name, dataset in self.datasets.items():
            yield _pack_step(name, dataset, made["document_id"])

    def kinds(self) -> Iterator[tuple[str, list[int]]]:
        """Yield for each kind how many are listed, surveyed as usable, selected and tokenized."""
        seen = self.surveyed.filter(pc.is_null(self.surveyed["unusable"]))
        made = usable(self.tokenized)
        made = made.set_column(0, "document_id", items_of(made["document_id"]))
        items = (
            made.group_by("document_id", use_threads=False)
            .aggregate([("kind", "first")])
            .rename_columns(["id", "kind"])
        )
        stages = [counts(t["kind"]) for t in (self.listed, seen, going_on(self.surveyed), items)]
        for kind in sorted(stages[0]):
            yield kind, [stage.get(kind, 0) for stage in stages]


def going_on(surveyed: pa.Table) -> pa.Table:
    """Return the items that select lets go on."""
    return surveyed.filter(pc.and_(surveyed["judged"], pc.is_null(surveyed["reason"])))


def counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Count the values of a column of text, the most frequent first."""
    found = [(row["values"], row["counts"]) for row in pc.value_counts(column).to_pylist()]
    return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))


def _survey_and_selection(workspace: Workspace) -> tuple[pa.Table, pa.Table]:
    schema = pa.schema([*(SURVEY.field(name) for name in _SURVEYED), pa.field("unit", pa.int32())])
    tables = [schema.empty_table()]
    for path in unit_files(workspace.survey):
        table = read_rows(path, SURVEY, _SURVEYED)
        unit = pa.array([unit_number(path)] * len(table), pa.int32())
        tables.append(table.append_column(schema.field("unit"), unit))
    selection = _selection(workspace)
    judged = selection[1] if selection else SURVEY.empty_table().select(_JUDGED)
    return pa.concat_tables(tables), judged


def _selection(workspace: Workspace) -> tuple[SelectConfig, pa.Table] | None:
    try:
        selection = read_selection(workspace, _JUDGED)
    except DatasetError:  # there is none, or it is not finished
        return None
    return selection.config, selection.rows


def _with_verdicts(surveyed: pa.Table, judged: pa.Table) -> pa.Table:
    """Put the selection's columns beside the survey's. The survey's own reason is called `unusable` from here on.

    Where select has not judged an item, its verdict is the survey's.
    """
    at = pc.index_in(surveyed["uri"], judged["uri"].combine_chunks())
    found = judged.take(at)  # a row of nulls where there is none
    is_judged = pc.is_valid(at)
    table = surveyed.rename_columns(["unusable" if name == "reason" else name for name in surveyed.column_names])
    for name in ("split", "cuts", "keeper"):
        table = table.append_column(name, found[name])
    reason = pc.if_else(is_judged, found["reason"], table["unusable"])
    detail = pc.if_else(is_judged, found["detail"], table["detail"])
    table = table.drop_columns(["detail"]).append_column("reason", reason).append_column("detail", detail)
    return table.append_column("judged", is_judged)


def _documents(ledger: Path) -> pa.Array:
    """Return the ids of the documents that lie in a dataset, each once."""
    try:
        with pq.ParquetFile(ledger) as file:
            groups = range(file.num_row_groups)
            ids = [pc.unique(file.read_row_group(n, columns=["document_id"])["document_id"]) for n in groups]
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{ledger} cannot be read ({e}); `longreel verify` says what else is wrong") from e
    return pc.unique(pa.chunked_array(ids, pa.string()))


def _pack_step(name: str, dataset: Dataset, made: pa.ChunkedArray) -> Step:
    """Return what of the tokenized documents lies in a dataset. What it holds beyond those is of an earlier state."""
    on = pc.sum(pc.is_in(made, dataset.documents)).as_py() or 0
    forgotten = pc.sum(pc.is_in(made, pa.array(dataset.card.forgotten, pa.string()))).as_py() or 0
    rest = len(made) - on - forgotten
    left_out = dict(dataset.card.left_out)
    if sum(left_out.values()) != rest:  # some were made since it was packed
        left_out = {"not packed": rest}
    aside = {reason: n for reason, n in {**left_out, "forgotten": forgotten}.items() if n}
    old = len(dataset.documents) - on
    note = f"it also holds {old:,} documents that are no longer selected" if old else ""
    return Step(name=f"pack {name}", came=len(made), on=on, aside=aside, note=note)
