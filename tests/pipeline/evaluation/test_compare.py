"""The command `compare` on training runs; tests/pipeline/cli/test_evaluation.py has it on evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import longreel
from tests.support.training.written_runs import falling_losses, write_run

ROWS = falling_losses(40)


def test_two_runs_are_compared_as_tables_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").mkdir()
    one = write_run(tmp_path / "a", ROWS, {"seed": 0})
    other = write_run(tmp_path / "x" / "a", ROWS[:-1], {"seed": 1})
    assert longreel.main(["compare", str(one), str(other)]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("x/a", "3.0000 at 40", "loss by step", "options that differ", "seed"))
    assert longreel.main(["compare", str(one), str(other), str(one), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["steps"] for run in found["runs"]] == [40, 40, 40]
    assert found["options"] == {"seed": ["0", "1", "0"]}
    assert found["losses"][0] == {"step": 0, "losses": [9.0, 9.0, 9.0]}


def test_folders_that_cannot_be_compared_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a", ROWS)
    assert longreel.main(["compare", str(run)]) == 2
    assert longreel.main(["compare", str(run), str(run), str(tmp_path / "none")]) == 2
    assert "not: " in (error := capsys.readouterr().err)
    assert str(tmp_path / "none") in error
    assert longreel.main(["compare", str(run), str(tmp_path)]) == 1
    assert "has no results of `longreel eval`" in capsys.readouterr().err
