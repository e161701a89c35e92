from __future__ import annotations

import pytest

from trainer.run import progress
from trainer.run.progress import Progress


def test_elsewhere_than_on_a_terminal_plain_lines_say_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_S", 0.0)
    with Progress(steps=40, done=10) as shown:
        shown.start()
        shown.step(11, loss=5.25, tokens_per_s=1234.4)
        shown.say("a [line] of text")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("train: step 11 of 40, loss 5.2500, 1,234 tokens/s, time left ")
    assert second == "a [line] of text"


def test_lines_are_few_but_the_last_step_is_always_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_S", 1e9)
    with Progress(steps=300, done=0) as shown:
        shown.start()
        for step in range(1, 301):
            shown.step(step, loss=1.0, tokens_per_s=1.0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["train: step 300 of 300"]


def test_a_process_that_is_not_the_first_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(steps=2, done=0, visible=False) as shown:
        shown.start()
        shown.step(2, loss=1.0, tokens_per_s=1.0)
        shown.say("not heard")
    assert capsys.readouterr().err == ""
