from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime import job_log
from pipeline.runtime.job_log import JobLog


@pytest.mark.parametrize("last", ["20260101-000000-01234567", "29990101-000000-01234567"])
def test_the_records_of_the_latest_runs_are_kept_also_when_the_clock_is_set_back(tmp_path: Path, last: str) -> None:
    (tmp_path / "survey" / last).mkdir(parents=True)
    runs = []
    for _ in range(7):
        runs.append(JobLog.start(tmp_path, "survey"))
        runs[-1].journal("element-0").write(b"x")
    JobLog.start(tmp_path, "pack").journal("element-0").write(b"x")
    kept = [place.parent.name for place in runs[0].logs.walk() if place.parent.parent.name == "survey"]
    assert kept == [log.run for log in runs[2:]]


def test_a_run_begins_without_the_internal_error_of_the_last_one(tmp_path: Path) -> None:
    log = JobLog.start(tmp_path, "survey")
    log.error_text.write(b"Traceback")
    JobLog.start(tmp_path, "pack")
    assert log.error_text.exists()
    JobLog.start(tmp_path, "survey")
    assert not log.error_text.exists()


def test_a_defect_that_affects_every_item_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_log, "_MAX_DEFECT_BYTES", 10)
    log = JobLog.start(tmp_path, "survey")
    for text in ("12345", "67890123", "more"):
        log.add_defects(text)
    assert log.defects_text.read() == b"1234567890123"


def test_a_folder_that_cannot_be_written_does_not_stop_a_job(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    JobLog.start(tmp_path / "logs", "survey").add_defects("Traceback")
