"""The survey job: find the items, and examine those that are new or have changed."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pipeline.dedup.block_list import BlockList
from pipeline.runtime.beam import Runner, run_each
from pipeline.runtime.growth import divide
from pipeline.runtime.job_report import JobReport, report_on
from pipeline.runtime.manifest_file import ABSENT, absent_items, write_manifest
from pipeline.runtime.progress import following
from pipeline.runtime.workspace import Workspace, drop_units, read_units
from pipeline.sources.item_defaults import ItemDefaults
from pipeline.sources.links import with_given
from pipeline.sources.manifest import read_manifest
from pipeline.survey.absence import FINGERPRINT, AbsenceConfig, known_items, with_absent
from pipeline.survey.table import read_reusable
from pipeline.survey.taken_down import block_found_items, unsearchable_note, without_blocked
from pipeline.survey.worker import SurveyWorker
from schemas.large_tables import values_of
from schemas.records import MANIFEST, SURVEY
from schemas.rows import ManifestItem, SurveyRow, manifest_items
from schemas.runs.messages import messages

_NO_DEFAULTS = ItemDefaults()
_KEEP_ABSENT = AbsenceConfig()
_FILES_CHECKED = 8


def survey_items(
    inputs: Sequence[str],
    workspace: Workspace,
    worker: SurveyWorker,
    runner: Runner,
    defaults: ItemDefaults = _NO_DEFAULTS,
    absence: AbsenceConfig = _KEEP_ABSENT,
    units: int | None = None,
) -> JobReport:
    """Read the manifest and survey every item that is new or has changed, in `units` units if this is not None.

    Raises ManifestError, and AbsenceError if too many known items are absent.
    """
    started = time.monotonic()
    worker = dataclasses.replace(worker, access=with_given(worker.access, inputs))
    block_list = BlockList.read(workspace)
    plan = _planned(inputs, workspace, worker, block_list, defaults, absence, units)
    if plan.stale:
        log = workspace.start_log("survey")
        with following("survey", log, sum(plan.stale.values())):
            worker = dataclasses.replace(worker, prune=absence.prune)
            sets = [str(place) for place in worker.config.books.decontaminate if place.is_local]
            run_each(list(plan.stale), worker, runner, log=log, reads=[*sets, *plan.local_files])
    if block_list:
        block_found_items(workspace, block_list)
    table = read_units(workspace.survey, SURVEY, ["reason"])
    report = report_on("survey", plan.items, table, sum(plan.stale.values()), started)
    return dataclasses.replace(report, notes=tuple(filter(None, [plan.note, unsearchable_note(block_list)])))


class _Plan(NamedTuple):
    """What a survey has to do. The items themselves are in the manifest of the workspace."""

    items: int
    stale: dict[int, int]  # by unit that has to run: its items
    local_files: list[str]  # some of the items, for engines to find out whether their workers have them
    note: str


def _planned(
    inputs: Sequence[str],
    workspace: Workspace,
    worker: SurveyWorker,
    block_list: BlockList,
    defaults: ItemDefaults,
    absence: AbsenceConfig,
    units: int | None,
) -> _Plan:
    """Find the items, write the manifest, and find out which units have to run."""
    listed, skipped = read_manifest(inputs, defaults, worker.access)
    if skipped:
        counts = ", ".join(f"{n} {name}" for name, n in skipped.items())
        messages.info(f"survey: skipped files, by unsupported extension or reason: {counts}")
    before = absent_items(workspace)["uri"]
    found = with_absent(listed, known_items(workspace), partial(_fingerprint, worker), absence, before=before)
    divide(workspace, len(found.items), units)
    parts = write_manifest(workspace, without_blocked(found.items, block_list))
    drop_units(workspace.survey, parts)
    drop_units(workspace.signatures, parts)
    counts_of = {unit: _items_to_survey(workspace, unit, rows, worker) for unit, rows in parts.items()}
    return _Plan(
        items=len(found.items),
        stale={unit: count for unit, count in counts_of.items() if count is not None},
        local_files=_local_files(found.items),
        note=found.note(),
    )


def _fingerprint(worker: SurveyWorker, item: ManifestItem) -> str:
    """Return the fingerprint of an item that can be read; raises InputError."""
    return worker.fingerprint(item, worker.versions(item))


def _local_files(items: pa.Table) -> list[str]:
    local = (uri for uri in values_of(items["uri"]) if uri.startswith("/") and Path(uri).is_file())
    return list(itertools.islice(local, _FILES_CHECKED))


def _items_to_survey(workspace: Workspace, unit: int, rows: pa.Table, worker: SurveyWorker) -> int | None:
    """Return the number of items of a unit that has to run, None if all its rows are up to date."""
    known = read_reusable(workspace, unit)
    if known.keys() != set(rows["uri"].to_pylist()) or (worker.retry and any(row.reason for row in known.values())):
        return len(rows)
    items = manifest_items(rows.select(MANIFEST.names))
    states = zip(items, rows[ABSENT].to_pylist(), rows[FINGERPRINT].to_pylist(), strict=True)
    is_current = all(_is_current(item, known[item.uri], absent, key, worker) for item, absent, key in states)
    return None if is_current else len(rows)


def _is_current(
    item: ManifestItem, known: SurveyRow, absent: str | None, fingerprint: str | None, worker: SurveyWorker
) -> bool:
    """Whether the known row of an item is up to date; of a blocked one, `fingerprint` is that of another item."""
    if absent:
        return known.with_item(item) == known
    own = None if item.reason else fingerprint
    return known.fingerprint == (own or worker.fingerprint(item))
