from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime import progress
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.journal import DEFECT, KEPT, MADE, REJECTED, WORKING, Journal
from pipeline.runtime.progress import _Follower, following
from schemas.runs.messages import console


@pytest.fixture
def log(tmp_path: Path) -> JobLog:
    return JobLog.start(tmp_path / "logs", "tokenize")


def test_a_line_of_text_has_progress_rate_rejections_and_time_left(
    log: JobLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_S", 0.05)
    with following("tokenize", log, 4):
        journal = Journal(log.journal("element-0"))
        for outcome in (MADE, KEPT, REJECTED):
            journal.note(outcome, {"uri": "x"})
        journal.close(done=True)
        while "3 of 4" not in (printed := capsys.readouterr().err):
            pass
    assert "tokenize: 3 of 4" in printed
    assert "rejected 1" in printed
    assert "time left" in printed


def test_journals_of_all_elements_are_added_up_and_complete_ones_are_read_once(log: JobLog) -> None:
    follower = _Follower(log)
    done, running = Journal(log.journal("element-0")), Journal(log.journal("element-1"))
    done.note(MADE, {"uri": "a"})
    done.close(done=True)
    running.note(REJECTED, {"uri": "b"})
    follower.read()
    assert follower.counts == {MADE: 1, REJECTED: 1}
    log.journal("element-0").write(b"")
    running.note(KEPT, {"uri": "c"})
    running.close(done=False)
    follower.read()
    assert follower.counts == {MADE: 1, REJECTED: 1, KEPT: 1}


def test_an_element_that_is_processed_again_is_counted_once(log: JobLog) -> None:
    follower = _Follower(log)
    for _ in range(2):  # the process of the first was killed
        Journal(log.journal("element-0")).note(MADE, {"uri": "a"})
        follower.read()
    assert follower.counts.total() == 1


def test_a_journal_that_is_damaged_is_left_out(log: JobLog) -> None:
    log.journal("element-0").write(b'{"counts": {"ma')
    follower = _Follower(log)
    follower.read()
    assert follower.counts.total() == 0


def test_the_record_that_takes_longest_is_shown_until_its_outcome(log: JobLog) -> None:
    follower = _Follower(log)
    long, longer = Journal(log.journal("element-0")), Journal(log.journal("element-1"))
    long.note(WORKING, {"uri": "/books/a.txt", "seconds": 12})
    longer.note(WORKING, {"uri": "/books/long\x1b.txt", "seconds": 42})
    follower.read()
    assert follower.working == "working on long\\u001b.txt for 42 s, 1 more take long"
    assert follower.counts.total() == 0
    longer.note(MADE, {"uri": "/books/long\x1b.txt"})
    longer.close(done=True)
    follower.read()
    assert (follower.working, follower.counts[MADE]) == ("working on a.txt for 12 s", 1)


def test_tracebacks_of_defects_are_collected_in_one_file(log: JobLog) -> None:
    for name in ("element-0", "element-1"):
        with following("tokenize", log, 1):
            journal = Journal(log.journal(name))
            journal.note(DEFECT, {"traceback": f"Traceback of {name}\nIndexError: x"})
            journal.note(REJECTED, {"uri": "a", "reason": "failed"})
            journal.close(done=True)
    text = log.defects_text.read().decode()
    assert text.index("Traceback of element-0\nIndexError: x") < text.index("Traceback of element-1")


def test_a_path_is_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("done: out [/x] :smile:")
    assert capsys.readouterr().err == "done: out [/x] :smile:\n"
