"""The list of items with their verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.reports.listing import FIELDS, ItemFilter, items_table, json_lines, list_items
from pipeline.runtime.progress import output
from pipeline.runtime.workspace import Workspace
from schemas.errors import ConfigError, DatasetError
from tests.support.finished_workspace import ROWS
from tests.support.survey_rows import book, video, write_survey

pytestmark = pytest.mark.slow  # of the finished workspace


def names(workspace: Workspace, **wanted: object) -> list[str]:
    found = list_items(workspace, ItemFilter(**wanted))  # type: ignore[arg-type]
    return [Path(uri).name for uri in found["uri"].to_pylist()]


def test_every_item_has_the_verdict_of_the_last_job_that_judged_it(workspace: Workspace) -> None:
    rows = {row["uri"]: row for row in map(json.loads, json_lines(list_items(workspace, ItemFilter())))}
    assert rows.keys() == ROWS.keys()
    assert all(tuple(row) == FIELDS for row in rows.values())
    verdicts = {Path(uri).name: (row["state"], row["job"], row["reason"]) for uri, row in rows.items()}
    assert verdicts == {
        "clip.mp4": ("kept", None, None),
        "film.mp4": ("kept", None, None),
        "novel.txt": ("kept", None, None),
        "lost.mp4": ("rejected", "tokenize", "changed"),
        "small.mp4": ("rejected", "select", "near_duplicate"),
        "edition.txt": ("rejected", "select", "near_duplicate"),
        "copy.mp4": ("rejected", "select", "duplicate"),
        "dark.mp4": ("rejected", "select", "black"),
        "script>.mp4": ("rejected", "select", "too_short"),
        "gone.mp4": ("rejected", "survey", "missing"),
        "cut.mp4": ("rejected", "survey", "unreadable"),
    }
    assert {row["split"] for row in rows.values() if row["state"] == "rejected"} == {None}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"state": "kept"}, ["novel.txt", "clip.mp4", "film.mp4"]),
        ({"reasons": ["near_duplicate"]}, ["edition.txt", "small.mp4"]),
        ({"reasons": ["black", "missing"]}, ["dark.mp4", "gone.mp4"]),
        ({"kinds": ["book"], "state": "rejected"}, ["edition.txt"]),
        ({"splits": ["val"]}, ["film.mp4"]),
        ({"licenses": ["mit"]}, ["dark.mp4", "film.mp4"]),
        ({"licenses": ["unknown"], "state": "kept"}, []),
        ({"sources": ["a test"], "state": "kept"}, ["novel.txt", "clip.mp4"]),
    ],
)
def test_items_are_chosen_by_every_condition(
    workspace: Workspace, wanted: dict[str, object], expected: list[str]
) -> None:
    assert names(workspace, **wanted) == expected


def test_items_that_no_job_has_judged_are_pending(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    with pytest.raises(DatasetError, match="lists no items"):
        list_items(workspace, ItemFilter())
    write_survey(workspace, [video("/v/a.mp4", split="val"), book("/b/b.txt", reason="quality")])
    rows = list_items(workspace, ItemFilter()).to_pylist()
    assert [(row["uri"], row["state"], row["split"]) for row in rows] == [
        ("/b/b.txt", "rejected", None),
        ("/v/a.mp4", "pending", None),
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"reasons": ["neer_duplicate"]}, "unknown reason 'neer_duplicate'; did you mean 'near_duplicate'"),
        ({"kinds": ["vidoe"]}, "did you mean 'video'"),
        ({"splits": ["test"]}, "unknown split 'test'"),
    ],
)
def test_an_unknown_value_is_an_error_with_the_nearest_one(wanted: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ItemFilter(**wanted)  # type: ignore[arg-type]


def test_control_characters_are_escaped_and_columns_without_values_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    write_survey(workspace, [video("/v/\x1b[31mred\n.mp4")])
    output().print(items_table(list_items(workspace, ItemFilter())))
    printed = capsys.readouterr().out
    assert "/v/\\u001b[31mred\\n.mp4" in printed
    assert "\x1b" not in printed
    assert "license" not in printed
