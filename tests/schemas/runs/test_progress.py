from __future__ import annotations

import pytest

from schemas.runs import progress
from schemas.runs.progress import TrainingProgress


def test_without_a_terminal_lines_report_the_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_S", 0.0)
    with TrainingProgress("train", steps=40, done=10) as shown:
        shown.start()
        shown.update(11, "loss 5.2500, 1,234 tokens/s")
        shown.log("a [line] of text")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("train: step 11 of 40, loss 5.2500, 1,234 tokens/s, time left ")
    assert second == "a [line] of text"


def test_lines_are_rare_but_the_last_step_is_always_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_S", 1e9)
    with TrainingProgress("train", steps=300, done=0) as shown:
        shown.start()
        for step in range(1, 301):
            shown.update(step, "loss 1.0")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["train: step 300 of 300"]


def test_an_invisible_display_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress("train", steps=2, done=0, visible=False) as shown:
        shown.start()
        shown.update(2, "loss 1.0")
        shown.log("hidden")
    assert capsys.readouterr().err == ""
