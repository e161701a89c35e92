"""The select job on survey units and pairs that the test writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.dedup.pairs import Pair
from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.workspace import Workspace, read_table_unit
from pipeline.select import job as select_job
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.keep_best import KeepConfig
from pipeline.select.selection import begin_selection, read_selection
from schemas.errors import ConfigError, DatasetError
from schemas.records import SURVEY
from tests.support.golden import check_golden
from tests.support.survey_rows import Row, book, broken, pair, select_config, video, write_survey

pytestmark = pytest.mark.slow

LARGE, SMALL = video("/v/large.mp4", license="MIT"), video("/v/small.mp4", width=320, height=180, license="MIT")
LONG, SHORT = book("/b/long.txt", measures={"characters": 90_000.0}), book("/b/short.txt")
ROWS = [
    LARGE,
    SMALL,
    video("/v/copy.mp4", content_id=LARGE["content_id"], document_id=LARGE["document_id"]),
    video("/v/brief.mp4", duration_s=0.2),
    broken("/v/gone.mp4", "missing", "no file"),
    LONG,
    SHORT,
]
PAIRS_FOUND = [pair(LARGE, SMALL), pair(LONG, SHORT, of_one=0.1, of_other=0.1)]


def surveyed(root: Path, pairs: list[Pair] = PAIRS_FOUND, rows: list[Row] = ROWS) -> Workspace:
    workspace = Workspace.open(root, units=3)
    write_survey(workspace, rows, pairs)
    return workspace


def select(workspace: Workspace, *limits: str, **options: Any) -> JobReport:
    return select_items(workspace, select_config(*limits, **options), Runner())


def test_every_row_is_judged_alone_and_in_its_cluster(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    report = select(workspace, val_fraction=0.5)
    assert (report.items, report.kept, report.new) == (7, 3, 7)
    assert report.rejected == {"duplicate": 1, "near_duplicate": 1, "too_short": 1, "missing": 1}
    config, rows = read_selection(workspace)[1:]
    assert config == SelectConfig(val_fraction=0.5)
    found = {row["uri"]: row for row in rows.to_pylist(maps_as_pydicts="strict")}
    assert found["/v/small.mp4"]["kept_content_id"] == LARGE["content_id"]
    assert found["/v/small.mp4"]["cluster"] == found["/v/large.mp4"]["cluster"] == found["/v/copy.mp4"]["cluster"]
    assert found["/b/long.txt"]["split"] == found["/b/short.txt"]["split"]
    assert found["/b/short.txt"]["cuts"] == [
        {"start": 0, "end": 9, "reason": "near_duplicate", "detail": f"{LONG['content_id']} contains this passage"}
    ]
    assert found["/v/large.mp4"]["measures"] == {"brightness": 90.0}
    assert found["/v/gone.mp4"]["cluster"] == "/v/gone.mp4"
    for unit in range(3):
        mine = read_table_unit(workspace.selection, unit, SURVEY)
        assert all(workspace.unit_of(r["document_id"] or r["uri"]) == unit for r in mine.to_pylist())


def test_the_job_runs_again_only_if_options_or_pairs_changed(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    assert [select(workspace).new, select(workspace).new] == [7, 0]
    assert select(workspace, keep=KeepConfig(min_containment=0.95)).kept == 4
    write_survey(workspace, ROWS, PAIRS_FOUND[1:])
    assert (report := select(workspace)).new == 7
    assert report.kept == 4
    workspace.pairs.local().unlink()
    assert select(workspace).new == 7


def test_an_interrupted_selection_is_not_mistaken_for_the_previous_one(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    select(workspace)
    before = {path: path.read_bytes() for path in workspace.selection.local().iterdir()}
    begin_selection(workspace)  # a job with other options starts, writes all its units, and is killed
    for path, content in before.items():
        if path.suffix == ".parquet":
            path.write_bytes(content)
    with pytest.raises(DatasetError, match="not finished"):
        read_selection(workspace)
    assert select(workspace).new == 7
    assert {path: path.read_bytes() for path in workspace.selection.local().iterdir()} == before


def test_a_split_of_the_manifest_holds_for_all_items_that_share_content(tmp_path: Path) -> None:
    rows = [LARGE, SMALL | {"split": "val"}, LONG | {"split": "val"}, SHORT | {"split": "train"}]
    report = select(surveyed(tmp_path / "out", rows=rows), val_fraction=0.0)
    assert report.facts == {"in train": 1, "in val": 2}
    assert report.notes == ("shared content in both splits, as the manifest says: 2 items",)


def test_a_limit_on_an_unknown_number_raises(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    with pytest.raises(ConfigError, match="did you mean 'characters'"):
        select(workspace, "charakters=5:")
    assert select(workspace, "characters=70000:").rejected["score"] == 1


def test_the_selection_changes_only_with_the_version(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    select(workspace, val_fraction=0.5)
    rows = read_selection(workspace).rows.sort_by("uri").to_pylist(maps_as_pydicts="strict")
    check_golden("selection", select_job.VERSION, [{k: v for k, v in row.items() if v is not None} for row in rows])


def test_without_a_survey_the_error_says_to_run_it_first(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="run the job before this one"):
        select_items(Workspace.open(tmp_path / "out"), SelectConfig(), Runner())
