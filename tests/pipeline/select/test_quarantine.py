"""The quarantine table lists each rejected item once, with the job that rejected it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.quarantine import write_quarantine
from tests.support.survey_rows import broken, video, write_survey

ROWS = [
    video("/v/good.mp4"),
    video("/v/dark.mp4", measures={"brightness": 0.0}),
    broken("/v/gone.mp4", "missing", "no file"),
]


def test_rejected_items_are_listed_by_address_with_job_and_reason(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    write_survey(workspace, ROWS)
    select_items(workspace, SelectConfig(), Runner())
    assert write_quarantine(workspace) == 2
    rows = pq.read_table(workspace.quarantine.local()).to_pylist()
    assert [(row["uri"], row["job"], row["reason"]) for row in rows] == [
        ("/v/dark.mp4", "select", "black"),
        ("/v/gone.mp4", "survey", "missing"),
    ]


def test_a_workspace_without_rejected_items_has_an_empty_table(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    write_survey(workspace, ROWS[:1])
    select_items(workspace, SelectConfig(), Runner())
    assert write_quarantine(workspace) == 0
    assert len(pq.read_table(workspace.quarantine.local())) == 0
