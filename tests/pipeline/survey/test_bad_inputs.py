"""Damaged and hostile inputs: each becomes a row with a reason and does not affect other items."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from pipeline.kinds.video import VIDEO
from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.quarantine import write_quarantine
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.table import read_survey_unit
from pipeline.survey.tools import SurveyTools
from pipeline.survey.worker import SurveyWorker
from pipeline.text.options import TextOptions
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import InputError, Reason
from schemas.rows import SurveyRow
from tests.support.inputs.media import make_audio, make_video
from tests.support.mutations import mutate

pytestmark = pytest.mark.slow

_LIMIT_S = 20.0
_SOURCES = {"a.mp4": "libx264", "a.mkv": "libx265", "a.ts": "libx264", "a.avi": "mpeg4", "a.webm": "libvpx-vp9"}


def survey(uris: dict[str, str], place: Path) -> tuple[JobReport, dict[str, SurveyRow]]:
    """Survey addresses, given with their kinds, through a manifest; returns the rows by address."""
    manifest = place / "items.jsonl"
    manifest.write_text("\n".join(json.dumps({"uri": uri, "kind": kind}) for uri, kind in uris.items()))
    workspace = Workspace.open(place / "out", units=1)
    worker = SurveyWorker(
        workspace=workspace,
        config=SurveyConfig(),
        decode=DecodeConfig(time_limit_s=_LIMIT_S, memory_limit_bytes=1 << 30),
    )
    report = survey_items([str(manifest)], workspace, worker, Runner())
    select_items(workspace, SelectConfig(), Runner())
    write_quarantine(workspace)
    return report, {row.uri: row for row in read_survey_unit(workspace, 0)}


@pytest.mark.parametrize("copies", [8, pytest.param(40, marks=pytest.mark.campaign)])
def test_damaged_files_do_not_affect_the_others(copies: int, tmp_path: Path) -> None:
    uris: dict[str, str] = {}
    good: list[str] = []
    for number, (name, codec) in enumerate(_SOURCES.items()):
        whole = make_video(tmp_path / name, codec=codec, frames=16, size=(64, 48))
        good.append(str(whole))
        for seed in range(copies):
            bad = tmp_path / f"{number}-{seed:02}{whole.suffix}"
            bad.write_bytes(mutate(whole.read_bytes(), 1002 * number + seed))
            uris[str(bad)] = "video"
        uris[str(whole)] = "video"
    began = time.monotonic()
    report, rows = survey(uris, tmp_path)
    assert len(uris) == len(rows) == report.items == report.kept + sum(report.rejected.values()) == 5 * copies + 5
    assert time.monotonic() - began < len(uris) * _LIMIT_S
    assert set(report.rejected) <= {"unreadable", "no_video", "timeout", "memory", "crashed", "too_large", "empty"}
    assert report.rejected["unreadable"] > copies // 4
    assert report.kept > copies
    for uri, row in rows.items():
        assert (row.reason is None) == bool(row.measures), uri
        assert row.reason is None or row.detail, uri
    with Decoder(DecodeConfig()) as decoder:  # by itself each good file is the same
        for uri in good:
            found = VIDEO.survey(Path(uri), SurveyTools(config=SurveyConfig(), text=TextOptions(), decoder=decoder))
            row = rows[uri]
            assert (row.visual, row.measures, row.content_id) == (found.visual, found.measures, found.content_id)


def test_a_path_that_is_not_a_file_has_a_row_with_its_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    make_audio(tmp_path / "sound.mp4")
    (tmp_path / "empty.mkv").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    good = make_video(tmp_path / "good.mp4", frames=30)
    secret = make_video(tmp_path / "secret.mp4", frames=40)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    (tmp_path / "remote.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n")
    wanted = {
        "sound.mp4": "no_video",
        "empty.mkv": "empty",
        "folder.mp4": "unreadable",
        "pipe.mp4": "unreadable",
        "loop.mp4": "not_allowed",
        "nowhere.mp4": "missing",
        "absent.mp4": "not_allowed",
        "list.mp4": "unreadable",
        "remote.mp4": "unreadable",
        "good.mp4": None,
    }
    uris = {str(tmp_path / name): "video" for name in wanted if name != "absent.mp4"} | {
        "memory://nowhere/absent.mp4": "video",
        "zzz://x/a.mp4": "video",
    }
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.mp4"))
        uris[str(tmp_path / "socket.mp4")] = "image"
        report, rows = survey(uris, tmp_path)
    assert {Path(uri).name: row.reason for uri, row in rows.items() if Path(uri).name in wanted} == wanted
    found = {Path(uri).name: row.reason for uri, row in rows.items()}
    assert (found["a.mp4"], found["socket.mp4"]) == ("not_allowed", "unreadable")
    assert (report.items, report.kept) == (len(uris), 1)
    assert rows[str(good)].measures["sampled_frames"] >= 2


def test_a_file_that_grows_and_shrinks_during_the_survey_ends_in_time(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.ts", frames=200)
    data, stop = path.read_bytes(), threading.Event()

    def disturb() -> None:
        rng = random.Random(0)
        while not stop.is_set():
            path.write_bytes(data[: rng.randrange(len(data))])
            stop.wait(0.002)
        path.write_bytes(data)

    writer = threading.Thread(target=disturb)
    writer.start()
    outcomes: set[object] = set()
    try:
        with Decoder(DecodeConfig(time_limit_s=_LIMIT_S)) as decoder:
            for _ in range(10):
                try:
                    outcomes.add(len(decoder.analyze(path).signatures) > 0)
                except InputError as e:
                    outcomes.add(e.reason)
            stop.set()
            writer.join()
            assert decoder.analyze(path).measures["found_share"] == pytest.approx(1, abs=0.01)
    finally:
        stop.set()
        writer.join()
    assert outcomes <= {True, Reason.UNREADABLE, Reason.NO_VIDEO, Reason.EMPTY}
