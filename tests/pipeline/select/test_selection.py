"""A selection is readable only with the marker that completes it, and with all its rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.runtime.workspace import Workspace, write_table_unit
from pipeline.select.selection import begin_selection, finish_selection, read_selection
from schemas.errors import DatasetError
from schemas.records import SURVEY
from tests.support.survey_rows import book, select_config, video

CONFIG = select_config("words=9:", licenses=("MIT",), val_fraction=0.5)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A finished selection of two rows."""
    workspace = Workspace.open(tmp_path / "out", units=2)
    for unit, row in enumerate((video(), book())):
        write_table_unit(workspace.selection, unit, pa.Table.from_pylist([row], SURVEY))
    finish_selection(workspace, CONFIG, fingerprint="x", items=2)
    return workspace


def test_a_finished_selection_has_its_fingerprint_options_and_rows(workspace: Workspace) -> None:
    fingerprint, config, rows = read_selection(workspace, ["uri"])
    assert (fingerprint, config) == ("x", CONFIG)
    assert rows.to_pydict() == {"uri": ["/files/a.mp4", "/files/a.txt"]}


def test_a_selection_that_has_begun_is_empty_and_unfinished(workspace: Workspace) -> None:
    begin_selection(workspace)
    assert list(workspace.selection.local().iterdir()) == []
    with pytest.raises(DatasetError, match="not finished: run `longreel select` first"):
        read_selection(workspace)


@pytest.mark.parametrize("marker", ["", "[]", '{"fingerprint": "x", "items": 2, "config": {"keep": 3}}'])
def test_a_marker_that_cannot_be_read_raises(workspace: Workspace, marker: str) -> None:
    (workspace.selection.local() / "selection.json").write_text(marker)
    with pytest.raises(DatasetError, match="run `longreel select` again"):
        read_selection(workspace)


def test_missing_rows_raise(workspace: Workspace) -> None:
    write_table_unit(workspace.selection, 0, SURVEY.empty_table())
    with pytest.raises(DatasetError, match="has 1 of 2 rows; run `longreel select` again"):
        read_selection(workspace)
