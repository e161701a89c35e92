"""The closing line of a job, and the check that its counts balance."""

from __future__ import annotations

import dataclasses
import time

import pyarrow as pa
import pytest

from pipeline.runtime.job_report import JobReport, report_on
from schemas.errors import InternalError

REPORT = JobReport(
    job="select",
    items=2500,
    kept=2497,
    rejected={"black": 1, "duplicate": 2},
    new=3,
    seconds=1.25,
    facts={"in train": 2497},
    notes=("2 items share content across the splits",),
)


def test_the_closing_line_gives_all_counts() -> None:
    assert REPORT.line() == (
        "select: 2,500 in: 2,497 kept, 3 rejected (3 processed); rejected: 1 black, 2 duplicate; "
        "2,497 in train; 2 items share content across the splits; 1.2 s"
    )


def test_a_run_that_processes_nothing_reports_nothing_to_do() -> None:
    report = dataclasses.replace(REPORT, kept=2500, rejected={}, new=0, facts={}, notes=())
    assert report.line() == "select: 2,500 in: 2,500 kept, 0 rejected (nothing to do); 1.2 s"


def test_counts_that_do_not_balance_raise() -> None:
    with pytest.raises(InternalError, match="2500 in, 2496 kept, 3 rejected.*report this"):
        dataclasses.replace(REPORT, kept=2496).checked()


def test_rows_with_a_reason_are_rejected() -> None:
    report = report_on("survey", 3, pa.table({"reason": ["black", None, "black"]}), 2, time.monotonic())
    assert (report.kept, report.rejected, report.new) == (1, {"black": 2}, 2)


def test_a_missing_row_does_not_balance() -> None:
    with pytest.raises(InternalError, match="4 in, 1 kept, 2 rejected"):
        report_on("survey", 4, pa.table({"reason": ["black", None, "black"]}), 2, time.monotonic())
