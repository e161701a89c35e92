from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.runtime import progress
from pipeline.runtime.progress import KEPT, MADE, REJECTED, WORKING, console, following, note


def test_a_line_of_text_has_progress_rate_rejections_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_S", 0.05)
    journal = tmp_path / "logs" / "job.jsonl"
    with following("tokenize", journal, 4):
        for outcome in (MADE, KEPT, REJECTED):
            note(journal, outcome, uri="x")
        while "3 of 4" not in (printed := capsys.readouterr().err):
            pass
    assert "tokenize: 3 of 4" in printed
    assert "rejected 1" in printed
    assert "time left" in printed


def test_only_records_after_the_start_are_counted(tmp_path: Path) -> None:
    journal = tmp_path / "job.jsonl"
    note(journal, MADE)
    follower = progress._Follower(journal)
    note(journal, MADE)
    with journal.open("a") as f:
        f.write('{"outcome": "ma')  # a line that is being written
    follower.read()
    assert follower.counts == {MADE: 1}
    with journal.open("a") as f:
        f.write('de"}\n')
    follower.read()
    assert follower.counts == {MADE: 2}


def test_a_journal_that_cannot_be_written_does_not_stop_a_job(tmp_path: Path) -> None:
    note(tmp_path / "no" / "such" / "folder.jsonl", MADE)


def test_a_record_is_one_line_of_json(tmp_path: Path) -> None:
    note(tmp_path / "j", REJECTED, uri="a\nb", reason="crashed")
    (line,) = (tmp_path / "j").read_text().splitlines()
    assert json.loads(line)["uri"] == "a\nb"


def test_a_path_is_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("done: out [/x] :smile:")
    assert capsys.readouterr().err == "done: out [/x] :smile:\n"


def test_a_record_that_takes_long_is_shown_until_its_outcome_and_is_not_counted(tmp_path: Path) -> None:
    journal = tmp_path / "job.jsonl"
    follower = progress._Follower(journal)
    note(journal, WORKING, uri="/books/long\x1b.txt", seconds=42)
    follower.read()
    assert follower.working == "working on long\\u001b.txt for 42 s"
    assert not follower.counts
    note(journal, MADE, uri="/books/long\x1b.txt")
    follower.read()
    assert (follower.working, follower.counts) == ("", {MADE: 1})
