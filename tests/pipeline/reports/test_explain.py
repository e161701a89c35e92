"""Every number and decision about an item, at every stage of a workspace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import longreel
from pipeline.filters.limit_table import DEFAULTS
from pipeline.reports.item_history import number_facts
from pipeline.runtime.workspace import Workspace, write_manifest
from schemas.dataset import read_card
from schemas.records import MANIFEST
from tests.support.curated import CLIP, FILM, HEADER, LOST, NOVEL, ROWS, write_clips, write_curated
from tests.support.surveys import broken, select_config, video, write_survey


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write_curated(tmp_path_factory.mktemp("explain") / "out", select_config("brightness=5:"))


def explain(workspace: Workspace, item: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert longreel.main(["explain", item, "--out", str(workspace.root), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def show(workspace: Workspace, item: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Return what is shown, as the cells of the tables' lines."""
    assert longreel.main(["explain", item, "--out", str(workspace.root)]) == 0
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]


def test_an_item_that_went_all_the_way(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = explain(workspace, "/v/clip.mp4", capsys)
    assert found["item"] == {"uri": "/v/clip.mp4", "kind": "video", "title": "A <b>clip</b>"} | {
        "source": "a test",
        "license": "CC0-1.0",
    }
    assert found["survey"]["state"] == "goes on"
    assert found["survey"]["crop"] == [0, 20, 640, 320]
    numbers = {n["name"]: (n["value"], n["at_least"], n["at_most"], n["broken"]) for n in found["numbers"]}
    assert numbers == {
        "duration_s": (10.0, 1.0, 14400.0, None),
        "short_side": (360.0, 64.0, None, None),
        "brightness": (90.0, 5.0, None, None),  # the limit that select was run with
    }
    assert found["options"] == "--limit brightness=5:"
    (pair,) = found["dedup"]["pairs"]
    assert pair["addresses"] == ["/v/small.mp4"]
    assert (pair["it_has_of_this"], pair["this_has_of_it"], pair["similarity"]) == (0.9, 0.9, 0.95)
    assert found["select"]["state"] == "goes on"
    assert found["select"]["split_by"] == "a hash of its cluster"
    assert found["select"]["cluster_items"] == ["/v/clip.mp4", "/v/small.mp4"]
    counts = {"documents": 1, "length": len(CLIP.tokens), "frames": 4, "frames_promised": 4}
    assert found["tokenize"] == {"state": "goes on", **counts}
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
    }


def test_a_film_lies_in_several_sequences_and_its_split_is_the_manifests(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(workspace, f"{FILM.id}#00003", capsys) == (found := explain(workspace, FILM.id, capsys))
    assert found["item"]["uri"] == "/v/film.mp4"
    assert found["pack"][0]["sequences"] > 1
    assert (found["select"]["split"], found["select"]["split_by"]) == ("val", "the manifest")
    assert found["copies"] == ["/v/copy.mp4"]


@pytest.mark.parametrize(
    ("name", "survey", "select", "tokenize"),
    [
        ("gone.mp4", "set aside: missing", "set aside: missing", "does not come to it"),
        ("dark.mp4", "goes on", "set aside: black", "does not come to it"),
        ("copy.mp4", "goes on", "set aside: duplicate", "does not come to it"),
        ("small.mp4", "goes on", "set aside: near_duplicate", "does not come to it"),
        ("lost.mp4", "goes on", "goes on", "set aside: changed"),
        ("novel.txt", "goes on", "goes on", "goes on"),
    ],
)
def test_each_decision_is_shown_with_its_job(
    workspace: Workspace, name: str, survey: str, select: str, tokenize: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {cells[0]: cells[1] for cells in show(workspace, name, capsys) if len(cells) == 3}
    assert [outcomes[job] for job in ("survey", "select", "tokenize")] == [survey, select, tokenize]


def test_a_broken_limit_is_marked_and_others_are_not(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    cells = {row[0]: row[1:5] for row in show(workspace, "dark.mp4", capsys) if len(row) == 6}
    assert cells["brightness"] == ["2", "5", "", "✗ black"]
    assert cells["duration_s"] == ["10", "1", "14,400", "✓"]
    assert cells["sharpness"] == ["0.1", "", "", ""]


def test_what_is_set_aside_for_another_names_the_one_that_is_kept(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explain(workspace, "small.mp4", capsys)["select"]
    assert (found["reason"], found["kept"]) == ("near_duplicate", "/v/clip.mp4")
    assert found["keeper"] == ROWS["/v/clip.mp4"]["content_id"]
    assert any("kept in its place: /v/film.mp4" in "".join(row) for row in show(workspace, "copy.mp4", capsys))


def test_a_books_cuts_are_shown_with_reasons_and_places(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explain(workspace, NOVEL.id[:8], capsys)
    assert found["cuts"][0] == HEADER
    assert found["survey"]["encoding"] == "utf_8"
    assert found["survey"]["language"] == "en"
    rows = show(workspace, "novel.txt", capsys)
    assert ["0", "120", "120", "boilerplate", "a header"] in rows


def test_of_copies_with_one_id_the_one_that_goes_on_is_meant(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    content = ROWS["/v/film.mp4"]["content_id"]
    assert explain(workspace, content[:12], capsys)["item"]["uri"] == "/v/film.mp4"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("clip.mp5", "near are /v/clip.mp4"),
        ("SMALL", "near are /v/small.mp4"),
        ("/else/where/film.mp4", "near are /v/film.mp4"),
        ("zzzzzz", "there are 11 (/b/edition.txt, /b/novel.txt, "),
        ("abc", "there are 11"),
        ("", "there are 11"),
    ],
)
def test_an_unknown_item_names_near_ones(
    workspace: Workspace, item: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longreel.main(["explain", item, "--out", str(workspace.root)]) == 1
    told = capsys.readouterr().err
    assert f"no item {item!r} in this workspace" in told
    assert message in told


def test_a_name_or_a_beginning_that_means_several_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    ids = {"/v/1/a.mp4": "f" * 8 + "1", "/v/2/a.mp4": "f" * 8 + "2"}
    write_survey(workspace, [video(uri, document_id=name) for uri, name in ids.items()])
    assert longreel.main(["explain", "a.mp4", "--out", str(workspace.root)]) == 1
    assert "'a.mp4' is the name of 2 (/v/1/a.mp4, /v/2/a.mp4): give the whole address" in capsys.readouterr().err
    assert longreel.main(["explain", "ffffffff", "--out", str(workspace.root)]) == 1
    assert "is the beginning of 2 (ffffffff1, ffffffff2)" in capsys.readouterr().err
    assert explain(workspace, "ffffffff2", capsys)["item"]["uri"] == "/v/2/a.mp4"


def test_a_path_is_taken_from_where_one_stands(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("/")
    assert explain(workspace, "v/clip.mp4", capsys)["item"]["uri"] == "/v/clip.mp4"


def test_it_works_at_every_stage(workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    early = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "early")), workspace.units)
    (early.root / "packed" / "64" / "dataset.json").unlink()
    assert explain(early, "clip.mp4", capsys)["pack"][0]["state"] == "not yet"
    shutil.rmtree(early.root / "packed")
    shutil.rmtree(early.tokens)
    found = explain(early, "clip.mp4", capsys)
    assert (found["tokenize"], found["pack"]) == ({"state": "not yet"}, [])
    shutil.rmtree(early.selection)
    found = explain(early, "dark.mp4", capsys)
    assert found["select"] == {"state": "not yet"}
    assert found["options"] == ""  # the defaults, by which it is dark all the same
    assert [n["name"] for n in found["numbers"] if n["broken"]] == ["brightness"]
    early.pairs.unlink()
    assert explain(early, "clip.mp4", capsys)["dedup"] == {"state": "not yet"}
    shutil.rmtree(early.survey)
    assert explain(early, "clip.mp4", capsys)["survey"] == {"state": "not yet"}
    assert show(early, "clip.mp4", capsys)
    early.manifest.unlink()
    assert longreel.main(["explain", "clip.mp4", "--out", str(early.root)]) == 1
    assert "nothing is listed" in capsys.readouterr().err


def test_an_item_that_was_listed_after_the_survey_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    write_survey(workspace, [video("/v/a.mp4")])
    rows = [{n: r[n] for n in MANIFEST.names} for r in (video("/v/a.mp4"), video("/v/b.mp4", license="MIT"))]
    write_manifest(workspace, pa.Table.from_pylist(rows, MANIFEST))
    assert explain(workspace, "/v/b.mp4", capsys) == {
        "item": {"uri": "/v/b.mp4", "kind": "video", "license": "MIT"},
        "survey": {"state": "not yet"},
    }


def test_what_was_forgotten_or_did_not_fit_is_told(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "copy")), workspace.units)
    dataset = copy.packed(64)
    assert longreel.main(["forget", str(dataset), CLIP.id]) == 0
    assert read_card(dataset).forgotten == (CLIP.id,)
    capsys.readouterr()
    assert explain(copy, "clip.mp4", capsys)["pack"][0]["state"] == "forgotten"
    assert explain(copy, LOST.id, capsys)["pack"][0]["state"] == "not in it"


def test_clips_of_a_video_are_counted_together(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "copy")), workspace.units)
    write_clips(copy)
    found = explain(copy, "clip.mp4", capsys)["tokenize"]
    assert (found["documents"], found["length"], found["frames"]) == (2, 2 * len(CLIP.tokens), 8)
    outcomes = {cells[0]: cells[2] for cells in show(copy, "clip.mp4", capsys) if len(cells) == 3}
    assert outcomes["tokenize"] == f"2 clips; {2 * len(CLIP.tokens)} tokens; 8 frames"


def test_names_that_a_terminal_would_obey_are_spelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    evil = "/v/\x1b[31mred\x07[bold].mp4"
    write_survey(workspace, [broken(evil, "unreadable", "bad \x1b]0;title\x07")])
    assert longreel.main(["explain", evil, "--out", str(workspace.root)]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\x07" not in told
    assert "\\x1b[31mred\\x07[bold].mp4" in told


def test_a_damaged_unit_is_an_error_that_says_so(workspace: Workspace, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(workspace.root, tmp_path / "copy"))
    next((copy / "survey").glob("*.parquet")).write_bytes(b"PAR1 no more")
    assert longreel.main(["explain", "clip.mp4", "--out", str(copy)]) == 1


def test_numbers_that_are_none_are_text_in_json_and_break_their_limits() -> None:
    facts = number_facts({"brightness": float("nan"), "mine": float("inf")}, DEFAULTS)
    assert [(f["name"], f["value"], f["broken"]) for f in facts] == [
        ("brightness", "nan", "black"),
        ("mine", "inf", None),
    ]
