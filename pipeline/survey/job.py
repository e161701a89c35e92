"""The survey job: find the items, and examine those that are new or have changed."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.dedup.block_list import BlockList
from pipeline.runtime.beam import Runner, run_each
from pipeline.runtime.growth import divide
from pipeline.runtime.job_report import JobReport, report_on
from pipeline.runtime.progress import console, following
from pipeline.runtime.workspace import (
    Workspace,
    drop_units,
    read_absent,
    read_manifest_unit,
    read_units,
    write_manifest,
)
from pipeline.sources.inputs import Stat
from pipeline.sources.item_defaults import ItemDefaults
from pipeline.sources.manifest import read_manifest
from pipeline.survey.absence import AbsenceConfig, known_items, with_absent
from pipeline.survey.table import read_reusable
from pipeline.survey.taken_down import block_found_items, unsearchable_note, without_blocked
from pipeline.survey.worker import SurveyWorker
from schemas.records import SURVEY
from schemas.rows import ManifestItem, manifest_table

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
    manifest, block_list = read_manifest(inputs, defaults, worker.access), BlockList.read(workspace)
    if manifest.skipped:
        counts = ", ".join(f"{n} {name}" for name, n in manifest.skipped.items())
        console.print(f"survey: skipped files, by unsupported extension or reason: {counts}")
    versions: dict[str, list[Stat | None]] = {}  # of known items, so that a server is asked once for each

    def check(item: ManifestItem) -> None:
        versions[item.uri] = worker.versions(item)

    found = with_absent(manifest.items, known_items(workspace), check, absence, before=read_absent(workspace))
    divide(workspace, len(found.items), units)
    listed = write_manifest(workspace, manifest_table(without_blocked(found.items, block_list)), found.absent)
    drop_units(workspace.survey, listed)
    drop_units(workspace.signatures, listed)
    worker = dataclasses.replace(worker, prune=absence.prune)
    counts_of = {unit: _items_to_survey(workspace, unit, worker, versions) for unit in listed}
    stale = {unit: count for unit, count in counts_of.items() if count is not None}
    if stale:
        log = workspace.start_log("survey")
        with following("survey", log, sum(stale.values())):
            sets = [str(place) for place in worker.config.books.decontaminate if place.is_local]
            run_each(list(stale), worker, runner, log=log, reads=[*sets, *_local_files(found.items)])
    if block_list:
        block_found_items(workspace, block_list)
    table = read_units(workspace.survey, SURVEY)
    report = report_on("survey", len(found.items), table, sum(stale.values()), started)
    return dataclasses.replace(report, notes=tuple(filter(None, [found.note(), unsearchable_note(block_list)])))


def _local_files(items: Sequence[ManifestItem]) -> list[str]:
    """Return some local files among the items, for engines to find out whether their workers have them."""
    local = (item.uri for item in items if item.uri.startswith("/") and Path(item.uri).is_file())
    return list(itertools.islice(local, _FILES_CHECKED))


def _items_to_survey(
    workspace: Workspace, unit: int, worker: SurveyWorker, versions: Mapping[str, list[Stat | None]]
) -> int | None:
    """Return the number of items of a unit that has to run, None if all its rows are up to date."""
    known, absent = read_reusable(workspace, unit), read_absent(workspace, unit)
    items = read_manifest_unit(workspace, unit)
    is_current = known.keys() == {item.uri for item in items} and all(
        known[item.uri].with_item(item) == known[item.uri]
        if item.uri in absent
        else known[item.uri].fingerprint == worker.fingerprint(item, versions.get(item.uri))
        for item in items
    )
    retries = worker.retry and any(row.reason for row in known.values())
    return None if is_current and not retries else len(items)
