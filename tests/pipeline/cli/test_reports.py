"""The commands explain and report on a workspace of a real run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import longreel

pytestmark = pytest.mark.slow


def test_explain_prints_tables_or_json(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["explain", "held.mp4", "--workspace", str(workspace)]
    assert longreel.main(command) == 0
    assert "held.mp4" in capsys.readouterr().out
    assert longreel.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["item"]["uri"].endswith("held.mp4")


def test_report_writes_a_page_to_the_workspace_or_elsewhere(workspace: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert longreel.main(["report", str(workspace), "--out", str(page)]) == 0
    assert page.read_text().startswith("<!")
    assert not (workspace / "report.html").exists()


@pytest.mark.parametrize("command", [["explain", "a", "--workspace", "{}"], ["report", "{}"]])
def test_a_folder_that_is_no_workspace_is_named(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longreel.main([word.format(tmp_path) for word in command]) == 1
    assert "is not a Longreel workspace" in capsys.readouterr().err
