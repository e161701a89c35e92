"""The select job: which surveyed items are kept, and in which split. Beam groups the rows by cluster.

    read     one element per unit of the survey: each row with its cluster
    judge    one group per cluster: the rows of items that share content are judged together
    write    one group per unit of the selection: its rows, sorted by content and address

The job runs again if the survey, the pairs of `dedup` or an option changed.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.block_list import BlockList
from pipeline.dedup.pairs import read_pairs
from pipeline.filters.limit_filter import require_known
from pipeline.filters.numbers import measured_names
from pipeline.runtime.beam import Runner, run_selection
from pipeline.runtime.job_report import JobReport, report_on
from pipeline.runtime.manifest_file import absent_items
from pipeline.runtime.stored_value import stored
from pipeline.runtime.units import read_rows, unit_files, unit_number
from pipeline.runtime.workspace import Workspace, read_units, usable, write_table_unit
from pipeline.select.config import SelectConfig
from pipeline.select.rules import Clusters, content_of, judge_cluster
from pipeline.select.selection import begin_selection, finish_selection, read_selection
from pipeline.survey.table import read_survey_unit
from pipeline.survey.taken_down import taken_down_row
from schemas.counted import counted
from schemas.errors import DatasetError
from schemas.fingerprint import canonical_json, fingerprint, sha256_file
from schemas.large_tables import as_large, in_batches, taken
from schemas.records import SURVEY
from schemas.rows import SurveyRow, survey_table

VERSION = 4  # raise it if the same rows and options would give another selection
_INPUTS = ("uri", "fingerprint", "document_id", "reason")


def select_items(workspace: Workspace, config: SelectConfig, runner: Runner) -> JobReport:
    """Judge every surveyed item and choose its split, unless nothing has changed."""
    started = time.monotonic()
    surveyed = read_units(workspace.survey, SURVEY, _INPUTS)
    blocked = BlockList.read(workspace).takedowns
    absent = _absent_copies(workspace, surveyed)
    key = selection_fingerprint(workspace, config, surveyed, [*blocked, *absent])
    items, new = len(surveyed), 0
    del surveyed
    if not _is_selected(workspace, key):
        begin_selection(workspace)
        require_known(config.limits, _measured(workspace) if config.limits else ())
        clusters = Clusters.of(read_pairs(workspace), config.keep)
        worker = SelectWorker(workspace=workspace, config=config, clusters=clusters, blocked=blocked, absent=absent)
        units = [unit_number(path) for path in unit_files(workspace.survey)]
        log = workspace.start_log("select")
        with stored(log.folder, worker) as steps:
            run_selection(
                units,
                read=steps.method("read"),
                judge=steps.method("judge"),
                write=steps.method("write"),
                runner=runner,
                log=log,
            )
        finish_selection(workspace, config, fingerprint=key, items=items)
        new = items
    selected = read_selection(workspace, ["reason", "split", "cluster", "text_from"]).rows
    report = report_on("select", items, selected, new, started)
    splits = Counter(usable(selected)["split"].to_pylist())
    facts = {f"in {name}": splits[name] for name in sorted(splits)}
    if adopted := len(usable(selected)["text_from"].drop_null()):
        facts["with text of a copy"] = adopted
    return replace(report, facts=facts, notes=_leaks(usable(selected)))


@dataclass(frozen=True, kw_only=True)
class SelectWorker:
    """The three steps that Beam distributes. Its size grows with the corpus, so workers read it from the store."""

    workspace: Workspace
    config: SelectConfig
    clusters: Clusters
    blocked: Mapping[str, str]  # takedowns by document_id and content_id
    absent: frozenset[str] = frozenset()  # addresses of absent items of which there is a copy

    def read(self, unit: int) -> Iterator[tuple[str, SurveyRow]]:
        """Yield (cluster, row) of each row of a survey unit."""
        for row in read_survey_unit(self.workspace, unit):
            takedown = self.blocked.get(row.document_id or "") or self.blocked.get(row.content_id or "")
            if takedown and not row.reason:  # of a survey that was restored from a backup
                row = taken_down_row(row, takedown)
            joined = self.clusters.join(row)
            yield self.clusters.cluster_of(content_of(joined)), joined

    def judge(self, rows: Sequence[SurveyRow]) -> Iterator[tuple[int, SurveyRow]]:
        """Yield (unit, judged row) of each row of a cluster."""
        pairs = self.clusters.pairs.get(self.clusters.cluster_of(content_of(rows[0])), ())
        for row in judge_cluster(rows, pairs, self.config, absent=self.absent):
            yield self.workspace.unit_of(row.identity), row

    def write(self, unit: int, rows: Iterable[SurveyRow]) -> None:
        """Write a selection unit, sorted by content and address."""
        ordered = sorted(rows, key=lambda row: (row.document_id or "", row.uri))
        write_table_unit(self.workspace.selection, unit, survey_table(ordered))


def _measured(workspace: Workspace) -> Iterator[str]:
    """Yield the names of the numbers that were measured, with repetitions."""
    for path in unit_files(workspace.survey):
        yield from measured_names(read_rows(path, SURVEY, ["measures"])["measures"])


def _absent_copies(workspace: Workspace, surveyed: pa.Table) -> frozenset[str]:
    """Return the addresses of absent items of which there is another file with the same bytes."""
    absent = absent_items(workspace)["uri"]
    if not len(absent):
        return frozenset()
    counts = pc.value_counts(surveyed["document_id"].drop_null())
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    is_copy = pc.is_in(surveyed["document_id"], repeated)
    is_absent = pc.is_in(surveyed["uri"], absent.combine_chunks())
    return frozenset(surveyed["uri"].filter(pc.and_(is_copy, is_absent)).to_pylist())


def selection_fingerprint(
    workspace: Workspace, config: SelectConfig, surveyed: pa.Table, special: Sequence[str] = ()
) -> str:
    """Return a hash of everything that a selection depends on; `special` are the rows that are treated differently."""
    pairs = sha256_file(workspace.pairs) if workspace.pairs.exists() else None
    rows = _hash_rows(as_large(surveyed.select(_INPUTS)))
    return fingerprint(VERSION, config, config.limits, rows, pairs, *([sorted(special)] if special else []))


def _hash_rows(rows: pa.Table) -> str:
    """Return a hash of rows that does not depend on their order, and thus not on the number of units."""
    rows = taken(rows, pc.sort_indices(rows, sort_keys=[("uri", "ascending")]))
    digest = hashlib.sha256()
    for batch in in_batches(rows):
        digest.update(canonical_json([batch[name].to_pylist() for name in _INPUTS]).encode())
    return digest.hexdigest()


def _is_selected(workspace: Workspace, key: str) -> bool:
    try:
        return read_selection(workspace, ["uri"]).fingerprint == key
    except DatasetError:
        return False


def _leaks(kept: pa.Table) -> tuple[str, ...]:
    """Return a note on kept items that share content with items of the other split, which only a manifest can cause."""
    clusters = kept.group_by("cluster").aggregate([("split", "count_distinct"), ("split", "count")])
    both = clusters.filter(pc.greater(clusters["split_count_distinct"], 1))
    items = pc.sum(both["split_count"]).as_py() or 0
    sharing = f"shared content in both splits, as the manifest says: {counted(items, 'item')}"
    return (sharing,) if items else ()
