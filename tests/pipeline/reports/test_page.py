"""The report as one page, at every stage of a workspace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

import longreel
from pipeline.reports.funnel import Items, Step
from pipeline.reports.page import render
from pipeline.runtime.workspace import Workspace
from pipeline.select.selection import begin_selection
from schemas.errors import DatasetError
from schemas.tables import write_table
from tests.support.finished_workspace import ROWS
from tests.support.survey_rows import broken, video, write_survey


def steps(workspace: Workspace) -> dict[str, Step]:
    found = {step.name: step for step in Items.read(workspace).steps()}
    assert all(step.items_in == step.kept + step.rejected_total + step.pending for step in found.values())
    return found


def test_the_page_renders_at_every_stage_and_shows_what_is_pending(mine: Workspace) -> None:
    (mine.root.local() / "packed" / "64" / "dataset.json").unlink()
    assert list(steps(mine)) == ["survey", "select", "tokenize"]
    assert "Unfinished: 64" in render(mine)
    shutil.rmtree(mine.tokens.local())
    assert steps(mine)["tokenize"].pending == 4
    begin_selection(mine)
    assert steps(mine)["select"].pending == 9
    assert "No selection has finished yet" in render(mine)
    shutil.rmtree(mine.signatures.local())
    assert "<img" not in render(mine)
    (mine.survey.local() / "unit-00000.parquet").unlink()
    left = steps(mine)["survey"]
    assert left.pending == len(ROWS) - left.kept - left.rejected_total > 0
    shutil.rmtree(mine.survey.local())
    assert steps(mine)["survey"].pending == len(ROWS)
    assert "What happened to 11 listed items" in render(mine)
    mine.manifest.local().unlink()
    assert "What happened to 0 listed items" in render(mine)


def test_the_page_does_not_depend_on_the_location_of_the_workspace(workspace: Workspace, mine: Workspace) -> None:
    first = render(workspace)
    assert first == render(workspace)
    assert first == render(mine)  # whose folder has another parent and the same name
    assert longreel.main(["report", str(mine.root)]) == 0
    assert (mine.root.local() / "report.html").read_text(encoding="utf-8") == first
    assert longreel.main(["report", str(mine.root)]) == 0  # the page itself is no part of what it tells
    assert (mine.root.local() / "report.html").read_text(encoding="utf-8") == first


def test_the_page_shows_the_limits_of_the_selection(workspace: Workspace) -> None:
    page = render(workspace)
    assert "<code>--limit sharpness=1:</code>" in page
    assert "1 below 1 (blurred)" in page


def test_the_page_loads_nothing_and_escapes_text_from_data(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    nasty = '"><img src=x onerror=alert(1)>\x00\x1b[31m\u202etxt'
    rows = [
        video(f"/v/{nasty}.mp4", title=nasty, license=nasty, source=nasty, measures={f"m{nasty}": 1.0}),
        broken("/v/b.mp4", "unreadable", nasty),
    ]
    write_survey(workspace, rows)
    page = render(workspace)
    assert "<img" not in page
    assert "onerror" in page
    assert not {"\x00", "\x1b", "\u202e"} & set(page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_a_damaged_table_or_another_schema_version_is_an_error(mine: Workspace) -> None:
    path = next(mine.signatures.local().glob("*.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DatasetError, match="cannot be read"):
        render(mine)
    write_table(path, pa.table({"content_id": ["x"]}))
    with pytest.raises(DatasetError, match="another schema version|another version"):
        render(mine)
    path.unlink()
    render(mine)
    next(mine.survey.local().glob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="cannot be read"):
        render(mine)


def test_a_folder_that_is_no_workspace_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["report", str(tmp_path)]) == 1
    assert "not a Longreel workspace" in capsys.readouterr().err
