"""A count is shown in one line of a terminal, and in a line every ten seconds elsewhere."""

from __future__ import annotations

import sys

import pytest

from schemas.runs.count_progress import CountProgress


def test_a_count_is_one_line_of_a_terminal_that_ends_with_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    CountProgress("eval ruler", None, "samples").show(1)
    CountProgress("eval ruler", 1200, "samples").close(1200)
    assert capsys.readouterr().err == "\reval ruler: 1 samples\reval ruler: 1,200 of 1,200 samples\n"


def test_a_count_is_a_line_every_ten_seconds_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("schemas.runs.count_progress.time.monotonic", lambda: now)
    count = CountProgress("eval ruler", 40, "samples")
    for done in range(1, 31):
        now += 1.0
        count.show(done)
    count.close(30)
    lines = [f"eval ruler: {done} of 40 samples, time left {40 - done} s" for done in (10, 20, 30)]
    assert capsys.readouterr().err.splitlines() == lines


def test_time_before_the_first_count_is_not_in_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("schemas.runs.count_progress.time.monotonic", lambda: now)
    count = CountProgress("eval needle", 15, "samples")
    for done, now in ((1, 20.0), (2, 25.0), (3, 30.0)):  # noqa: B007 - read by the clock
        count.show(done)
    assert capsys.readouterr().err.splitlines() == [
        "eval needle: 1 of 15 samples",
        "eval needle: 3 of 15 samples, time left 60 s",
    ]
