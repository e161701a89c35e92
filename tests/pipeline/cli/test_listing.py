"""`longreel list`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import longreel
from pipeline.runtime.workspace import Workspace
from tests.support.survey_rows import video, write_survey


@pytest.fixture
def out(tmp_path: Path) -> str:
    workspace = Workspace.open(tmp_path / "out", units=2)
    write_survey(workspace, [video(f"/v/{n:03d}.mp4", reason="black" if n % 2 else None) for n in range(120)])
    return str(workspace.root)


def test_json_lines_are_all_and_a_table_is_the_first_hundred(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["list", out, "--format", "jsonl"]) == 0
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [row["uri"] for row in rows] == [f"/v/{n:03d}.mp4" for n in range(120)]
    assert longreel.main(["list", out]) == 0
    assert capsys.readouterr().out.count(".mp4") == 100
    assert longreel.main(["list", out, "--limit", "7", "--rejected", "--format", "jsonl"]) == 0
    assert capsys.readouterr().out.count('"black"') == 7


def test_nothing_found_is_a_success(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["list", out, "--license", "MIT"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "list: 0 items" in captured.err


@pytest.mark.parametrize("options", [["--rejected", "--kept"], ["--limit", "0"], ["--reason", "blak"]])
def test_wrong_options_are_refused(out: str, options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        longreel.main(["list", out, *options])
    assert caught.value.code == 2
