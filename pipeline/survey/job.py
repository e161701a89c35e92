"""TODO."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline.runtime.beam import Runner, run_each
from pipeline.runtime.job_report import JobReport, report_on
from pipeline.runtime.progress import console, following
from pipeline.runtime.workspace import Workspace, drop_units, read_manifest_unit, read_units, write_manifest
from pipeline.sources.manifest import read_manifest
from pipeline.survey.worker import SurveyWorker, read_known
from schemas.records import SURVEY


def survey_items(inputs: Sequence[str], workspace: Workspace, worker: SurveyWorker, runner: Runner) -> JobReport:
    """Read the manifest and look at every item that is new or has changed."""
    started = time.monotonic()
    manifest = read_manifest(inputs)
    if manifest.ignored:
        endings = ", ".join(f"{n} {ending}" for ending, n in manifest.ignored.items())
        console.print(f"survey: left alone, as their ending is that of no kind: {endings}")
    units = write_manifest(workspace, manifest.items)
    drop_units(workspace.survey, units)
    drop_units(workspace.signatures, units)
    stale = {unit: n for unit in units if (n := _survey_left(workspace, unit, worker)) is not None}
    if stale:
        with following("survey", workspace.log("survey"), sum(stale.values())):
            run_each(list(stale), worker, runner, error_log=workspace.error_log("survey"))
    table = read_units(workspace.survey, SURVEY)
    return report_on("survey", len(manifest.items), table, sum(stale.values()), started)


def _survey_left(workspace: Workspace, unit: int, worker: SurveyWorker) -> int | None:
    known = read_known(workspace, unit)
    items = read_manifest_unit(workspace, unit).to_pylist()
    keys = {item["uri"]: worker.fingerprint(item) for item in items}
    same = keys == {uri: row["fingerprint"] for uri, row in known.items()}
    return None if same and not (worker.retry and any(r["reason"] for r in known.values())) else len(items)
