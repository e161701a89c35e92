"""`longreel explain` shows every measure and decision of an item, at every stage of a workspace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import longreel
from pipeline.dataset.removal.remove import remove_items
from pipeline.runtime.manifest_file import write_manifest
from pipeline.runtime.workspace import Workspace
from schemas.dataset import read_card
from schemas.records import MANIFEST, USER_COLUMNS
from tests.support.finished_workspace import (
    CLIP,
    FILM,
    HEADER,
    LOST,
    NOVEL,
    ROWS,
    write_clips,
    write_finished_workspace,
)
from tests.support.survey_rows import broken, select_config, video, write_survey


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write_finished_workspace(tmp_path_factory.mktemp("explain") / "out", select_config("brightness=5:"))


def explain(workspace: Workspace, item: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert longreel.main(["explain", item, "--workspace", str(workspace.root), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def show(workspace: Workspace, item: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Return what is shown, as the cells of the tables' lines."""
    assert longreel.main(["explain", item, "--workspace", str(workspace.root)]) == 0
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]


def test_the_history_of_a_packed_item_is_complete(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = explain(workspace, "/v/clip.mp4", capsys)
    assert found["item"] == {"uri": "/v/clip.mp4", "kind": "video", "title": "A <b>clip</b>"} | {
        "source": "a test",
        "license": "CC0-1.0",
    }
    assert found["survey"]["state"] == "kept"
    assert found["survey"]["facts"]["crop"] == [0, 20, 640, 320]
    measures = {
        m["name"]: (m["value"], m.get("at_least"), m.get("at_most"), m.get("violation")) for m in found["measures"]
    }
    assert measures == {
        "duration_s": (10.0, 1.0, 14400.0, None),
        "short_side": (360.0, 64.0, None, None),
        "brightness": (90.0, 5.0, None, None),  # the limit that select was run with
    }
    assert found["options"] == "--limit brightness=5:"
    (pair,) = found["dedup"]["pairs"]
    assert pair["addresses"] == ["/v/small.mp4"]
    assert (pair["containment"], pair["containment_of_other"], pair["similarity"]) == (0.9, 0.9, 0.95)
    assert found["select"]["state"] == "kept"
    assert found["select"]["split_source"] == "a hash of the cluster"
    assert found["select"]["cluster_items"] == ["/v/clip.mp4", "/v/small.mp4"]
    frames = {"frames": 4, "frames_promised": 4, "cues": 0, "cues_outside": 0}
    counts = {"documents": 1, "length": len(CLIP.tokens), **frames}
    assert found["tokenize"] == {"state": "kept", **counts}
    (packed,) = found["pack"]
    assert packed | {"first": ""} == {
        "dataset": "packed/64",
        "context_length": 64,
        "state": "packed",
        "split": "train",
        "sequences": 1,
        "first": "",
        "copies": 1,
        "tokens": len(CLIP.tokens),
        "address": "/v/clip.mp4",
        "left_out": {},
    }


def test_a_film_in_several_sequences_has_the_split_of_the_manifest(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(workspace, f"{FILM.id}#00003", capsys) == (found := explain(workspace, FILM.id, capsys))
    assert found["item"]["uri"] == "/v/film.mp4"
    assert found["pack"][0]["sequences"] > 1
    assert (found["select"]["split"], found["select"]["split_source"]) == ("val", "the manifest")
    assert found["copies"] == ["/v/copy.mp4"]


@pytest.mark.parametrize(
    ("name", "survey", "select", "tokenize"),
    [
        ("gone.mp4", "rejected: missing", "rejected: missing", "not applicable"),
        ("dark.mp4", "kept", "rejected: black", "not applicable"),
        ("copy.mp4", "kept", "rejected: duplicate", "not applicable"),
        ("small.mp4", "kept", "rejected: near_duplicate", "not applicable"),
        ("lost.mp4", "kept", "kept", "rejected: changed"),
        ("novel.txt", "kept", "kept", "kept"),
    ],
)
def test_the_outcome_of_each_job_is_shown(
    workspace: Workspace, name: str, survey: str, select: str, tokenize: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {cells[0]: cells[1] for cells in show(workspace, name, capsys) if len(cells) == 3}
    assert [outcomes[job] for job in ("survey", "select", "tokenize")] == [survey, select, tokenize]


def test_only_violated_limits_are_marked(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    cells = {row[0]: row[1:5] for row in show(workspace, "dark.mp4", capsys) if len(row) == 6}
    assert cells["brightness"] == ["2", "5", "", "✗ black"]
    assert cells["duration_s"] == ["10", "1", "14,400", "✓"]
    assert cells["sharpness"] == ["0.1", "", "", ""]


def test_a_rejected_duplicate_names_the_kept_item(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = explain(workspace, "small.mp4", capsys)["select"]
    assert (found["reason"], found["kept_item"]) == ("near_duplicate", "/v/clip.mp4")
    assert found["kept_content"] == ROWS["/v/clip.mp4"]["content_id"]
    assert any("kept instead: /v/film.mp4" in "".join(row) for row in show(workspace, "copy.mp4", capsys))


def test_text_removed_from_a_book_is_shown_with_reason_and_range(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explain(workspace, NOVEL.id[:8], capsys)
    assert found["cuts"][0] == HEADER
    assert found["survey"]["facts"]["encoding"] == "utf_8"
    assert found["survey"]["facts"]["language"] == "en"
    rows = show(workspace, "novel.txt", capsys)
    assert ["0", "120", "120", "boilerplate", "a header"] in rows


def test_an_id_shared_by_copies_selects_the_kept_copy(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    content = ROWS["/v/film.mp4"]["content_id"]
    assert explain(workspace, content[:12], capsys)["item"]["uri"] == "/v/film.mp4"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("clip.mp5", "nearest: /v/clip.mp4"),
        ("SMALL", "nearest: /v/small.mp4"),
        ("/else/where/film.mp4", "nearest: /v/film.mp4"),
        ("zzzzzz", "the workspace lists 11 items (/b/edition.txt, /b/novel.txt, "),
        ("abc", "the workspace lists 11 items"),
        ("", "the workspace lists 11 items"),
    ],
)
def test_an_unknown_item_lists_the_nearest_names(
    workspace: Workspace, item: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longreel.main(["explain", item, "--workspace", str(workspace.root)]) == 1
    told = capsys.readouterr().err
    assert f"no item matches {item!r}" in told
    assert message in told


def test_an_ambiguous_name_or_prefix_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    ids = {"/v/1/a.mp4": "f" * 8 + "1", "/v/2/a.mp4": "f" * 8 + "2"}
    write_survey(workspace, [video(uri, document_id=name) for uri, name in ids.items()])
    assert longreel.main(["explain", "a.mp4", "--workspace", str(workspace.root)]) == 1
    assert "'a.mp4' matches 2 items (/v/1/a.mp4, /v/2/a.mp4): give the full address" in capsys.readouterr().err
    assert longreel.main(["explain", "ffffffff", "--workspace", str(workspace.root)]) == 1
    assert "matches 2 items (ffffffff1, ffffffff2)" in capsys.readouterr().err
    assert explain(workspace, "ffffffff2", capsys)["item"]["uri"] == "/v/2/a.mp4"


def test_a_relative_path_is_resolved_against_the_working_directory(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("/")
    assert explain(workspace, "v/clip.mp4", capsys)["item"]["uri"] == "/v/clip.mp4"


def test_explain_works_before_each_job_has_run(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = Workspace.existing(Path(shutil.copytree(workspace.root.local(), tmp_path / "early")))
    (early.root.local() / "packed" / "64" / "dataset.json").unlink()
    assert explain(early, "clip.mp4", capsys)["pack"][0]["state"] == "pending"
    shutil.rmtree(early.root.local() / "packed")
    shutil.rmtree(early.tokens.local())
    found = explain(early, "clip.mp4", capsys)
    assert (found["tokenize"]["state"], found["pack"]) == ("pending", [])
    shutil.rmtree(early.selection.local())
    found = explain(early, "dark.mp4", capsys)
    assert found["select"]["state"] == "pending"
    assert found["options"] == ""  # the default limits, which the item violates as well
    assert [m["name"] for m in found["measures"] if "violation" in m] == ["brightness"]
    early.pairs.local().unlink()
    assert explain(early, "clip.mp4", capsys)["dedup"]["state"] == "pending"
    shutil.rmtree(early.survey.local())
    assert explain(early, "clip.mp4", capsys)["survey"]["state"] == "pending"
    assert show(early, "clip.mp4", capsys)
    early.manifest.local().unlink()
    assert longreel.main(["explain", "clip.mp4", "--workspace", str(early.root)]) == 1
    assert "lists no items" in capsys.readouterr().err


def test_an_item_listed_after_the_survey_is_pending(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    write_survey(workspace, [video("/v/a.mp4")])
    rows = [{n: r[n] for n in USER_COLUMNS} for r in (video("/v/a.mp4"), video("/v/b.mp4", license="MIT"))]
    write_manifest(workspace, pa.Table.from_pylist(rows, MANIFEST))
    found = explain(workspace, "/v/b.mp4", capsys)
    assert found["item"] == {"uri": "/v/b.mp4", "kind": "video", "license": "MIT"}
    assert [found[job]["state"] for job in ("survey", "dedup", "select", "tokenize")] == ["pending"] * 4


def test_items_that_were_removed_from_a_dataset_or_are_absent_are_reported(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Workspace.existing(Path(shutil.copytree(workspace.root.local(), tmp_path / "copy")))
    dataset = copy.packed(64).local()
    remove_items(dataset, [CLIP.id])
    assert read_card(dataset).taken_down == (CLIP.id,)
    capsys.readouterr()
    assert explain(copy, "clip.mp4", capsys)["pack"][0]["state"] == "taken down"
    assert explain(copy, LOST.id, capsys)["pack"][0]["state"] == "absent"


def test_clips_of_one_video_are_added_up(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Workspace.existing(Path(shutil.copytree(workspace.root.local(), tmp_path / "copy")))
    write_clips(copy)
    found = explain(copy, "clip.mp4", capsys)["tokenize"]
    assert (found["documents"], found["length"], found["frames"]) == (2, 2 * len(CLIP.tokens), 8)
    outcomes = {cells[0]: cells[2] for cells in show(copy, "clip.mp4", capsys) if len(cells) == 3}
    assert outcomes["tokenize"] == f"2 clips; {2 * len(CLIP.tokens)} tokens; 8 frames"


def test_terminal_escapes_in_names_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    evil = "/v/\x1b[31mred\x07[bold].mp4"
    write_survey(workspace, [broken(evil, "unreadable", "bad \x1b]0;title\x07")])
    assert longreel.main(["explain", evil, "--workspace", str(workspace.root)]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\x07" not in told
    assert "\\u001b[31mred\\u0007[bold].mp4" in told


def test_a_damaged_unit_is_an_error(workspace: Workspace, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(workspace.root.local(), tmp_path / "copy"))
    next((copy / "survey").rglob("*.parquet")).write_bytes(b"PAR1 no more")
    assert longreel.main(["explain", "clip.mp4", "--workspace", str(copy)]) == 1
