"""Commands run from Python as in a terminal, and items are Arrow tables."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel
from pipeline.runtime.workspace import Workspace
from schemas.errors import ConfigError, UsageError
from tests.support.stages import Reports


def test_items_and_rejections_are_tables(clips: tuple[Workspace, Reports]) -> None:
    workspace = str(clips[0].root)
    items, rejections = longreel.items(workspace), longreel.rejections(workspace)
    assert items.num_rows == 3
    assert set(items["state"].to_pylist()) <= {"kept", "rejected"}
    assert rejections.num_rows == items["state"].to_pylist().count("rejected")


def test_a_command_prints_what_it_prints_in_a_terminal(
    clips: tuple[Workspace, Reports], capsys: pytest.CaptureFixture[str]
) -> None:
    longreel.run("list", str(clips[0].root), "--format", "jsonl")
    assert capsys.readouterr().out.count("\n") == 3


@pytest.mark.parametrize("arguments", [["nothing"], ["list", "somewhere", "--no-such-option"]])
def test_wrong_usage_is_an_error(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        longreel.run(*arguments)


def test_a_folder_that_is_no_workspace_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=tmp_path.name):
        longreel.items(tmp_path)
