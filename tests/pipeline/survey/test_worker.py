"""The survey of a unit: rows and signatures that belong together, kept or made again together."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from pipeline.kinds.registry import kind_of
from pipeline.kinds.video import VIDEO
from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.workspace import Workspace, read_table_unit
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.selection import read_selection
from pipeline.survey import worker as survey
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.table import read_survey_unit
from pipeline.survey.tools import SurveyTools
from pipeline.survey.worker import SurveyWorker
from pipeline.text.options import TextOptions
from schemas.errors import ConfigError
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import SIGNATURES
from tests.pipeline.video.analysis.test_packets import remux
from tests.support.golden import check_golden
from tests.support.media import make_video, numbered
from tests.support.texts import story


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos, one of them in two containers; a picture; a book; a file that is no video."""
    folder = tmp_path / "in"
    folder.mkdir()
    make_video(folder / "a.mp4", frames=50)
    remux(folder / "a.mp4", folder / "b.mkv")
    make_video(folder / "c.mp4", frames=60, options={"crf": "20"})
    Image.fromarray(numbered(7, (128, 96))).save(folder / "d.png")
    (folder / "e.txt").write_text("It was a bright cold day in April. " * 30)
    (folder / "f.mp4").write_text("this is not a film")
    return folder


def run(
    folder: Path, out: Path, **config: Any
) -> tuple[JobReport, dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Survey, and return the report, the rows by name, and the signatures by content."""
    workspace = Workspace.open(out, units=1)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(**config))
    report = survey_items([str(folder)], workspace, worker, Runner())
    rows = {Path(row.uri).name: row.to_row() for row in read_survey_unit(workspace, 0)}
    signatures = read_table_unit(workspace.signatures, 0, SIGNATURES).to_pylist()
    return report, rows, {row["content_id"]: row for row in signatures}


def test_rows_and_signatures_belong_together(folder: Path, tmp_path: Path) -> None:
    report, rows, signatures = run(folder, tmp_path / "out")
    assert (report.items, report.kept, report.rejected) == (6, 5, {"unreadable": 1})
    a, b = rows["a.mp4"], rows["b.mkv"]
    assert a["content_id"] == b["content_id"] != a["document_id"] == sha256_file(folder / "a.mp4")
    assert a["document_id"] != b["document_id"]
    assert (a["container"], b["container"]) == ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
    assert a["crop"] == [0, 0, 96, 64]
    assert a["measures"]["sampled_frames"] == 4
    assert rows["d.png"]["content_id"] == rows["d.png"]["document_id"] == sha256_file(folder / "d.png")
    videos = {
        row["content_id"]: row["kind"]
        for row in rows.values()
        if row["kind"] in ("video", "image") and not row["reason"]
    }
    assert {name: signature["kind"] for name, signature in signatures.items() if name in videos} == videos
    signature = signatures[a["content_id"]]
    assert len(signature["starts"]) == len(signature["lengths"]) == len(signature["samples"]) == 4
    assert sum(signature["lengths"]) == pytest.approx(2)
    assert Image.open(io.BytesIO(signature["thumbnail"])).size[1] == 96
    picture = signatures[rows["d.png"]["content_id"]]
    assert (picture["starts"], picture["lengths"], len(picture["samples"])) == ([0], [1], 1)


def test_a_remux_is_a_duplicate(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out")
    workspace = Workspace.existing(tmp_path / "out")
    select_items(workspace, SelectConfig(), Runner())
    judged = {Path(row["uri"]).name: row for row in read_selection(workspace).rows.to_pylist()}
    assert (judged["a.mp4"]["reason"], judged["b.mkv"]["reason"]) == (None, "duplicate")
    assert judged["b.mkv"]["detail"].startswith("same content as ")


def test_a_second_run_does_nothing_and_the_same_input_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    def made(out: Path) -> dict[str, bytes]:
        return {path.parent.name: path.read_bytes() for path in out.glob("s*/unit-*.parquet")}

    run(folder, tmp_path / "out")
    before = made(tmp_path / "out")
    assert set(before) == {"survey", "signatures"}
    assert run(folder, tmp_path / "out")[0].new == 0
    run(folder, tmp_path / "other")
    assert made(tmp_path / "out") == made(tmp_path / "other") == before


def test_unchanged_items_keep_their_signatures(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, before, signatures = run(folder, tmp_path / "out")
    surveyed = []
    survey_file = VIDEO.survey
    monkeypatch.setattr(VIDEO, "survey", lambda path, tools: surveyed.append(path.name) or survey_file(path, tools))
    make_video(folder / "g.mp4", frames=75)
    (folder / "c.mp4").unlink()
    _, rows, after = run(folder, tmp_path / "out")
    assert surveyed == ["g.mp4"]
    assert set(after) == set(signatures) - {before["c.mp4"]["content_id"]} | {rows["g.mp4"]["content_id"]}
    assert all(after[name] == signatures[name] for name in after if name in signatures)


@pytest.mark.parametrize("damage", ["garbage", "one row"])
def test_rows_without_signatures_are_computed_again(folder: Path, tmp_path: Path, damage: str) -> None:
    _, rows, signatures = run(folder, tmp_path / "out")
    path = tmp_path / "out" / "signatures" / "unit-00000.parquet"
    if damage == "garbage":
        path.write_bytes(b"PAR1 nonsense")
    else:
        kept = [signatures[name] for name in sorted(signatures)[1:]]
        survey.write_table_unit(path.parent, 0, pa.Table.from_pylist(kept, SIGNATURES))
    report, again, made = run(folder, tmp_path / "out")
    assert report.new == 6
    assert (again, made) == (rows, signatures)


def test_another_configuration_changes_the_rows(folder: Path, tmp_path: Path) -> None:
    _, _, before = run(folder, tmp_path / "out")
    report, rows, after = run(folder, tmp_path / "out", thumbnails=2)
    name = rows["a.mp4"]["content_id"]
    assert report.new == 6
    sizes = [Image.open(io.BytesIO(found[name]["thumbnail"])).size[0] for found in (before, after)]
    assert sizes == [3 * 144, 2 * 144]  # three of five frames are different ones in four looks
    sparse = run(folder, tmp_path / "out", decode_below_s=0)[1]
    assert sparse["a.mp4"]["measures"]["sampled_frames"] < rows["a.mp4"]["measures"]["sampled_frames"]


def test_a_file_that_is_modified_while_it_is_read_is_rejected(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash_file = survey.sha256_file

    def grow(path: Path) -> str:
        found = hash_file(path)
        if path.name == "c.mp4" and not path.with_suffix(".done").exists():
            path.with_suffix(".done").touch()
            with path.open("ab") as f:
                f.write(b"more")
        return found

    monkeypatch.setattr(survey, "sha256_file", grow)
    report, rows, signatures = run(folder, tmp_path / "out")
    row = rows["c.mp4"]
    assert (row["reason"], row["document_id"], row["content_id"]) == ("changed", None, None)
    assert "modified while it was read" in row["detail"]
    assert report.kept + sum(report.rejected.values()) == report.items
    assert None not in signatures
    assert run(folder, tmp_path / "out")[1]["c.mp4"]["reason"] is None  # another file now: looked at again


@pytest.mark.parametrize("wrong", [{"thumbnails": 0}, {"decode_below_s": -1}, {"max_bytes": 0}])
def test_invalid_options_are_errors_that_name_them(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SurveyConfig(**wrong)  # type: ignore[arg-type]


def test_rows_change_only_with_a_version(folder: Path, tmp_path: Path) -> None:
    (folder / "e.txt").write_text(story(0, 4))
    (folder / "g.qa.json").write_text(
        '{"turns": [{"role": "question", "text": "Why?"}, {"role": "answer", "text": "Because."}]}'
    )
    _, rows, signatures = run(folder, tmp_path / "out")
    for row in rows.values():
        if row["kind"] in ("video", "image"):  # their bytes and statistics depend on encoders and processors
            signature = signatures.get(row.pop("content_id"))
            row["measures"] = sorted(row["measures"] or {})
            row["signature"] = signature and [signature["starts"], signature["lengths"]]
            del row["document_id"], row["size_bytes"]
        del row["uri"], row["fingerprint"], row["detail"]
    tools = SurveyTools(config=SurveyConfig(), text=TextOptions())
    kinds = sorted({row["kind"] for row in rows.values()})
    version = [survey._VERSION, {kind: fingerprint(kind_of(kind).survey_fingerprint(tools)) for kind in kinds}]
    check_golden("survey_rows", version, rows)
