"""The survey of a folder as plain rows, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.workspace import Workspace, read_table_unit
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.table import read_survey_unit
from pipeline.survey.worker import SurveyWorker
from schemas.records import SIGNATURES

Rows = dict[str, dict[str, Any]]


def run_survey(
    inputs: Path | Sequence[str], out: Path, *, access: AccessConfig = STRICT, **config: Any
) -> tuple[JobReport, Rows, Rows]:
    """Survey a folder, or inputs, in one unit; return the report, the rows by name, and the signatures by content."""
    workspace = Workspace.open(out, units=1)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(**config), access=access)
    report = survey_items([str(inputs)] if isinstance(inputs, Path) else inputs, workspace, worker, Runner())
    rows = {Path(row.uri).name: row.to_row() for row in read_survey_unit(workspace, 0)}
    signatures = read_table_unit(workspace.signatures, 0, SIGNATURES).to_pylist()
    return report, rows, {row["content_id"]: row for row in signatures}
