"""What other options would keep: the same verdicts as the job's, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import longreel
from pipeline.reports.dry_run import SHOWN, judge_survey, verdicts
from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig, as_options
from pipeline.select.job import select_items
from pipeline.select.keep_best import KeepConfig
from pipeline.select.selection import read_selection
from schemas.records import SURVEY
from schemas.tables import write_table
from tests.support.survey_rows import book, broken, pair, select_config, video, write_survey

LARGE, SMALL = video("/v/large.mp4", license="MIT"), video("/v/small.mp4", width=320, height=180, license="MIT")
LONG, SHORT = book("/b/long.txt", measures={"characters": 90_000.0, "words": 15_000.0}), book("/b/short.txt")
ROWS = [
    LARGE,
    SMALL,
    video("/v/copy.mp4", content_id=LARGE["content_id"], document_id=LARGE["document_id"]),
    video("/v/brief.mp4", duration_s=0.2),
    video("/v/hour.mp4", duration_s=3600.0, measures={"brightness": 50.0}),
    broken("/v/gone.mp4", "missing", "no file"),
    LONG,
    SHORT,
]
PAIRS = [pair(LARGE, SMALL), pair(LONG, SHORT, of_one=0.1, of_other=0.1)]
OTHERS = (
    SelectConfig(),
    select_config("brightness=60:", "duration_s=0:", val_fraction=0.5),
    select_config(licenses=("mit", "Unknown"), keep=KeepConfig(remove_near_duplicates=False)),
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A surveyed workspace with a selection made with the default options."""
    workspace = Workspace.open(tmp_path_factory.mktemp("dry-run") / "out", units=3)
    write_survey(workspace, ROWS, PAIRS)
    select_items(workspace, SelectConfig(), Runner())
    return workspace


def dry_run(workspace: Workspace, *options: str) -> int:
    return longreel.main(["select", "--out", str(workspace.root), "--dry-run", *options])


@pytest.mark.parametrize("config", OTHERS, ids=as_options)
def test_verdicts_equal_those_of_the_beam_job(config: SelectConfig, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=3)
    write_survey(workspace, ROWS, PAIRS)
    tried = sorted(judge_survey(workspace, config), key=lambda row: row.uri)
    select_items(workspace, config, Runner())
    rows = read_selection(workspace).rows.sort_by("uri")
    assert [row.to_row() for row in tried] == rows.to_pylist(maps_as_pydicts="strict")
    assert verdicts(tried)["uri"].to_pylist() == rows["uri"].to_pylist()


def test_both_selections_are_shown_with_reasons_hours_and_words(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(workspace, "--limit", "brightness=60:", "--limit", "duration_s=0.1:", "--licenses", "unknown") == 0
    told = capsys.readouterr().out
    rows = {
        cells[1].strip(): [c.strip() for c in cells[2:-1]] for c in told.splitlines() if len(cells := c.split("│")) > 4
    }
    assert "current: default options\n" in told
    assert "new:     --licenses unknown --limit brightness=60: --limit duration_s=0.1:" in told
    assert list(rows)[-6:] == ["black", "duplicate", "license", "missing", "near_duplicate", "too_short"]
    assert rows["kept"] == ["4", "4", ""]
    assert rows["rejected"] == ["4", "4", ""]
    assert rows["too_short"] == ["1", "0", "-1"]
    assert rows["license"] == ["0", "2", "+2"]
    assert rows["black"] == ["0", "1", "+1"]
    assert rows["hours of video"] == ["1.00", "0.00", "-1.00"]
    words = 15_000 + 10_000 * (1 - 9 / 60_000)  # a passage of 9 characters is cut out of the shorter one
    assert rows["words of books"] == [f"{words:,.0f}", f"{words:,.0f}", ""]


def test_changed_items_are_listed_with_the_old_and_new_verdict(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(workspace, "--limit", "brightness=60:", "--no-remove-near-duplicates") == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("changed: 2 items:")
    assert lines[at + 1].startswith("  /v/hour.mp4: kept in train → black (brightness is 50 (gray level")
    assert (
        lines[at + 2]
        == "  /v/small.mp4: near_duplicate → kept in train (/v/copy.mp4 contains 90% of it with a similarity of 95%)"
    )
    assert dry_run(workspace) == 0
    assert "no item changes" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(workspace: Workspace) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.root.local().rglob("*")}
    assert dry_run(workspace, "--limit", "brightness=60:") == 0
    assert {path: path.stat().st_mtime_ns for path in workspace.root.local().rglob("*")} == before


def test_without_a_selection_only_the_new_totals_are_shown_and_long_lists_are_truncated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace.open(tmp_path / "out", units=3)
    many = [video(f"/v/{n:02d}.mp4", duration_s=float(n)) for n in range(1, 40)]
    write_survey(workspace, many)
    assert dry_run(workspace) == 0
    told = capsys.readouterr().out
    assert "no finished selection to compare with" in told
    assert "dedup has not run yet" in told
    assert "current:" not in told
    select_items(workspace, SelectConfig(), Runner())
    assert dry_run(workspace, "--limit", "duration_s=30:") == 0
    told = capsys.readouterr().out
    assert f"changed: 29 items; the first {SHOWN} by address:" in told
    assert told.count("→ too_short") == SHOWN


def test_items_not_yet_surveyed_or_selected_are_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    write_survey(workspace, ROWS[:2])
    select_items(workspace, SelectConfig(), Runner())
    write_survey(workspace, ROWS, PAIRS)
    unit = workspace.survey.local() / "unit-00000.parquet"
    write_table(unit, pq.read_table(unit).slice(0, 5).replace_schema_metadata(None).cast(SURVEY))
    assert dry_run(workspace) == 0
    told = capsys.readouterr().out
    assert "surveyed: 5 of 8 listed items; only these are counted" in told
    assert "surveyed after the current selection: 5 items" in told


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--limit", "brightnes=60:"], 1, "did you mean 'brightness'?"),
        (["--limit", "brightness"], 2, "a limit must be NAME=MIN:MAX"),
        (["--min-containment", "1.5"], 2, "min_containment must be above 0"),
    ],
)
def test_a_wrong_option_is_an_error(
    workspace: Workspace, options: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(workspace, *options) == status
    assert message in capsys.readouterr().err


def test_without_a_survey_the_error_names_the_command_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace.open(tmp_path / "out")
    assert dry_run(workspace) == 1
    assert "has no survey" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (SelectConfig(), ""),
        (select_config("a=1:", "b=:2", val_fraction=0.1), "--limit a=1: --limit b=:2 --val-fraction 0.1"),
        (select_config(licenses=("MIT", "a b")), "--licenses MIT 'a b'"),
        (
            SelectConfig(keep=KeepConfig(remove_near_duplicates=False, prefer=("length",))),
            "--no-remove-near-duplicates --prefer length",
        ),
    ],
)
def test_a_configuration_is_shown_as_the_options_that_make_it(config: SelectConfig, options: str) -> None:
    assert as_options(config) == options
