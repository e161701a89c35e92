"""The survey of a unit: rows and signatures that belong together, kept or made again together."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from pathlib import Path

import pytest
from PIL import Image

from pipeline.kinds.registry import kind_of
from pipeline.kinds.video import VIDEO
from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from pipeline.sources.access import AccessConfig
from pipeline.sources.inputs import hash_input
from pipeline.survey import book_analysis
from pipeline.survey import worker as survey
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.table import read_survey_unit
from pipeline.survey.tools import SurveyTools
from pipeline.survey.worker import SurveyWorker
from pipeline.text.books import BookConfig
from pipeline.text.options import TextOptions
from schemas.errors import Interrupted
from schemas.fingerprint import fingerprint, sha256_file
from tests.support.golden import check_golden
from tests.support.inputs.media import make_video, numbered
from tests.support.inputs.web_folder import served
from tests.support.surveys import run_survey
from tests.support.texts import story

pytestmark = pytest.mark.slow


def test_rows_and_signatures_belong_together(folder: Path, tmp_path: Path) -> None:
    report, rows, signatures = run_survey(folder, tmp_path / "out")
    assert (report.items, report.kept, report.rejected) == (6, 5, {"unreadable": 1})
    a, b = rows["a.mp4"], rows["b.mkv"]
    assert a["content_id"] == b["content_id"] != a["document_id"] == sha256_file(folder / "a.mp4")
    assert a["document_id"] != b["document_id"]
    assert (a["container"], b["container"]) == ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
    assert a["crop"] == [0, 0, 96, 64]
    assert a["measures"]["sampled_frames"] == 8
    assert rows["d.png"]["content_id"] == rows["d.png"]["document_id"] == sha256_file(folder / "d.png")
    videos = {
        row["content_id"]: row["kind"]
        for row in rows.values()
        if row["kind"] in ("video", "image") and not row["reason"]
    }
    assert {name: signature["kind"] for name, signature in signatures.items() if name in videos} == videos
    signature = signatures[a["content_id"]]
    assert len(signature["starts"]) == len(signature["lengths"]) == len(signature["samples"]) == 8
    assert sum(signature["lengths"]) == pytest.approx(2)
    assert Image.open(io.BytesIO(signature["thumbnail"])).size[1] == 96
    picture = signatures[rows["d.png"]["content_id"]]
    assert (picture["starts"], picture["lengths"], len(picture["samples"])) == ([0], [1], 1)


def test_the_content_determines_the_kind_in_every_kind_of_input(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make_video(folder / "video.jpg", frames=50, format="mp4")
    Image.fromarray(numbered(1, (96, 64))).save(folder / "picture.mp4", "JPEG")
    kinds = {"video.jpg": "video", "picture.mp4": "image"}
    manifest = tmp_path / "manifest.jsonl"
    # The kind of one row is listed, and wrong.
    rows = [{"uri": "in/video.jpg", "kind": "image"}, {"uri": "in/picture.mp4"}]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    for source in (manifest, folder):
        _, found, signatures = run_survey(source, tmp_path / f"out-{source.name}")
        assert {name: row["kind"] for name, row in found.items()} == kinds
        assert sorted(signature["kind"] for signature in signatures.values()) == ["image", "video"]
        assert (found["video.jpg"]["duration_s"], found["picture.mp4"]["duration_s"]) == (2.0, None)


def test_the_content_determines_the_kind_of_a_url(tmp_path: Path) -> None:
    make_video(tmp_path / "video.jpg", frames=50, format="mp4")
    Image.fromarray(numbered(1, (96, 64))).save(tmp_path / "picture.mp4", "JPEG")
    with served(tmp_path) as url:
        rows = [{"uri": f"{url}/video.jpg?token=a.b"}, {"uri": f"{url}/picture.mp4", "kind": "video"}]
        (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
        access = AccessConfig(allow_hosts=("127.0.0.1",))
        _, found, _ = run_survey(tmp_path / "manifest.jsonl", tmp_path / "out", access=access)
    assert {name: row["kind"] for name, row in found.items()} == {
        "video.jpg?token=a.b": "video",
        "picture.mp4": "image",
    }


def test_unchanged_items_keep_their_signatures(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, signatures = run_survey(folder, tmp_path / "out")
    surveyed = []
    survey_file = VIDEO.survey
    monkeypatch.setattr(
        VIDEO, "survey", lambda path, tools: surveyed.append(path.resolve().name) or survey_file(path, tools)
    )
    make_video(folder / "g.mp4", frames=75)
    (folder / "c.mp4").unlink()
    _, rows, after = run_survey(folder, tmp_path / "out")
    assert surveyed == ["g.mp4"]
    assert set(after) == set(signatures) | {rows["g.mp4"]["content_id"]}  # an absent item keeps its signature
    assert all(after[name] == signatures[name] for name in after if name in signatures)


def test_a_file_that_is_modified_while_it_is_read_is_rejected(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash_file = hash_input

    def grow(path: Path, uri: str) -> str:
        found = hash_file(path, uri)
        done = Path(uri).with_suffix(".done")
        if Path(uri).name == "c.mp4" and not done.exists():
            done.touch()
            with Path(uri).open("ab") as f:
                f.write(b"more")
        return found

    monkeypatch.setattr(survey, "hash_input", grow)
    report, rows, signatures = run_survey(folder, tmp_path / "out")
    row = rows["c.mp4"]
    assert (row["reason"], row["document_id"], row["content_id"]) == ("changed", None, None)
    assert "modified while it was read" in row["detail"]
    assert report.kept + sum(report.rejected.values()) == report.items
    assert None not in signatures
    assert run_survey(folder, tmp_path / "out")[1]["c.mp4"]["reason"] is None  # another file now: surveyed again


def test_rows_change_only_with_a_version(folder: Path, tmp_path: Path) -> None:
    (folder / "e.txt").write_text(story(0, 4))
    (folder / "g.qa.json").write_text(
        '{"turns": [{"role": "question", "text": "Why?"}, {"role": "answer", "text": "Because."}]}'
    )
    _, rows, signatures = run_survey(folder, tmp_path / "out")
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


def test_a_caption_or_transcript_that_cannot_be_read_rejects_its_item_only(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "transcript_is_folder.srt").mkdir(parents=True)
    names = ("good", "empty", "latin1", "pipe", "link", "novel")
    for number, name in enumerate(names):
        Image.fromarray(numbered(number, (128, 96))).save(folder / f"{name}.png")
    for number, name in enumerate(("good", "transcript_is_folder", "transcript_is_pipe")):
        make_video(folder / f"{name}.mp4", frames=5 + number)
    (folder / "good.txt").write_text("a caption")
    (folder / "good.eng.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    (folder / "empty.txt").touch()
    (folder / "latin1.txt").write_bytes("une légende".encode("latin-1"))
    (folder / "link.txt").symlink_to("absent")
    (folder / "novel.txt").write_text(story(0, 40) * 12)
    os.mkfifo(folder / "pipe.txt")
    os.mkfifo(folder / "transcript_is_pipe.srt")
    report, rows, _ = run_survey(folder, tmp_path / "out")
    assert {name: row["reason"] for name, row in rows.items() if row["reason"]} == {
        "latin1.png": "bad_caption",
        "pipe.png": "bad_caption",
        "link.png": "bad_caption",
        "transcript_is_folder.mp4": "bad_transcript",
        "transcript_is_pipe.mp4": "bad_transcript",
    }
    assert (report.items, report.kept) == (10, 5)
    assert rows["good.png"]["captions"] == rows["good.mp4"]["captions"] == ["a caption"]
    assert rows["good.mp4"]["transcript_language"] == "en"
    assert rows["empty.png"]["captions"] is None
    assert rows["empty.png"]["detail"].endswith("empty.txt is empty")
    assert (rows["novel.png"]["captions"], rows["novel.txt"]["kind"]) == (None, "book")


def test_a_changed_caption_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(numbered(1, (128, 96))).save(folder / "a.png")
    for caption in ("first", "the second"):
        (folder / "a.txt").write_text(caption)
        assert run_survey(folder, tmp_path / "out")[1]["a.png"]["captions"] == [caption]


def test_captions_and_transcripts_of_a_manifest_are_read_and_rejected_like_those_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.srt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "good.txt").write_text("a caption")
    (tmp_path / "good.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    (tmp_path / "latin1.txt").write_bytes("une légende".encode("latin-1"))
    (tmp_path / "large.txt").write_bytes(b"a" * ((1 << 20) + 1))
    access = AccessConfig(allow_hosts=("localhost", "127.0.0.1"))
    with served(tmp_path) as url:
        sidecars = {
            "a.png": {"caption_file": "good.txt", "captions": ["listed"]},
            "b.png": {"caption_file": f"{url}/good.txt?id=1"},
            "c.png": {"caption_file": "pipe.txt"},
            "d.png": {"caption_file": f"{url}/latin1.txt"},
            "e.png": {"caption_file": f"{url}/absent.txt"},
            "f.png": {"caption_file": f"{url}/large.txt"},
            "g.png": {"caption_file": str(tmp_path)},
            "h.mp4": {"transcript": f"{url}/good.srt?token=a.b", "transcript_language": "eng"},
            "i.mp4": {"transcript": "folder.srt"},
            "j.mp4": {"transcript": f"{url}/absent.vtt"},
        }
        for number, name in enumerate(sidecars):
            if name.endswith("png"):
                Image.fromarray(numbered(number, (128, 96))).save(tmp_path / name)
            else:
                make_video(tmp_path / name, frames=5 + number)
        lines = [json.dumps({"uri": name, **columns}) for name, columns in sidecars.items()]
        (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
        report, rows, _ = run_survey(tmp_path / "manifest.jsonl", tmp_path / "out", access=access)
    assert {name: row["reason"] for name, row in rows.items() if row["reason"]} == {
        **dict.fromkeys(["c.png", "d.png", "e.png", "f.png", "g.png"], "bad_caption"),
        **dict.fromkeys(["i.mp4", "j.mp4"], "bad_transcript"),
    }
    assert (report.items, report.kept) == (10, 3)
    assert rows["a.png"]["captions"] == ["listed", "a caption"]
    assert rows["b.png"]["captions"] == ["a caption"]
    assert rows["h.mp4"]["transcript_sha256"] == sha256_file(tmp_path / "good.srt")
    assert rows["h.mp4"]["transcript_language"] == "en"


def test_a_defect_rejects_its_item_and_is_logged_and_the_run_continues(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_analysis, "split_words", lambda: None)  # its caller raises a TypeError
    report, rows, _ = run_survey(folder, tmp_path / "out")
    books = [row for row in rows.values() if row["kind"] == "book"]
    assert {row["reason"] for row in books} == {"failed"}
    assert all("TypeError" in row["detail"] and "\n" not in row["detail"] for row in books)
    assert (report.rejected["failed"], "please report it with" in report.line()) == (len(books), True)
    assert any(row["kind"] == "video" and row["reason"] is None for row in rows.values())
    assert "Traceback" in (tmp_path / "out" / "logs" / "survey-defects.txt").read_text()


def test_a_book_beyond_its_time_limit_is_rejected_and_others_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "long.txt").write_text("A line of a long book, which goes on and on.\n" * 200_000)
    workspace = Workspace.open(tmp_path / "out", units=1)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), books=BookConfig(time_limit_s=0.2))
    report = survey_items([str(folder)], workspace, worker, Runner())
    assert report.rejected == {"timeout": 1}
    (row,) = read_survey_unit(workspace, 0)
    assert "stopped at the time limit of 0.2 s" in (row.detail or "")


def test_a_long_book_is_abandoned_on_a_stop_and_surveyed_by_the_next_run(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(story(9))
    (folder / "b.txt").write_text("A line of a long book, which goes on and on.\n" * 100_000)
    workspace = Workspace.open(tmp_path / "out", units=1)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
    stop = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()
    with pytest.raises(Interrupted):
        survey_items([str(folder)], workspace, worker, Runner())
    assert [Path(row.uri).name for row in read_survey_unit(workspace, 0)] == ["a.txt"]
    assert survey_items([str(folder)], workspace, worker, Runner()).items == 2
