"""All stages on real files: generated videos, a trained text model, the small VQGAN, Beam's local runner."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import longreel
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.tokenize.config import TokenizeConfig
from pipeline.video.decoder import DecodeConfig
from tests.support.inputs.media import make_audio, make_video
from tests.support.servers.command_server import CommandServer
from tests.support.stages import CLOCKS, drifting_patches, made_bytes, run_stages
from tests.support.texts import story
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

pytestmark = pytest.mark.slow

_MADE = ("survey", "signatures", "selection", "tokens", "packed")
CONFIG = TokenizeConfig(decode=DecodeConfig(fps=4))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos (one with caption and transcript), two books, questions, and files with typical defects."""
    folder = tmp_path_factory.mktemp("material")
    for name, frames in (("a.mp4", 50), ("b.mkv", 75), ("c.mp4", 60)):
        make_video(folder / name, frames=frames, picture=drifting_patches(frames))
    (folder / "a.txt").write_text("a caption")
    (folder / "a.srt").write_text("1\n00:00:01,000 --> 00:00:01,500\nsomebody speaks\n")
    for n in range(2):
        (folder / f"book{n}.txt").write_text(story(n, 20))
    turns = [{"role": "context", "text": CLOCKS.format(9)}, {"role": "question", "text": "Why?"}]
    (folder / "d.qa.json").write_text(json.dumps({"turns": [*turns, {"role": "answer", "text": "It was cold."}]}))
    (folder / "copy-of-c.mp4").write_bytes((folder / "c.mp4").read_bytes())
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes((folder / "c.mp4").read_bytes()[:900])
    (folder / "text.mp4").write_text("this is not a film")
    (folder / "binary.txt").write_bytes(bytes(range(256)))
    make_audio(folder / "sound.mp4")
    make_video(folder / "short.mp4", frames=5)
    return folder


@pytest.fixture(scope="module")
def text_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "text.model"
    return train_text_tokenizer([CLOCKS], out, TextTrainConfig(vocab_size=512))


@pytest.fixture(scope="module")
def first(material: Path, text_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("first") / "out"
    return out, run_stages(material, out, text_tokenizer, CONFIG)


def test_every_item_becomes_tokens_or_a_quarantine_row_with_a_reason(first: tuple[Path, Any]) -> None:
    out, reports = first
    assert reports["survey"].items == 13
    assert reports["tokenize"].kept == 6
    rejected = {
        Path(r["uri"]).name: (r["job"], r["reason"]) for r in pq.read_table(out / "quarantine.parquet").to_pylist()
    }
    assert rejected == {
        "binary.txt": ("survey", "not_text"),
        "copy-of-c.mp4": ("select", "duplicate"),
        "cut.mp4": ("survey", "unreadable"),
        "empty.mp4": ("survey", "empty"),
        "short.mp4": ("select", "too_short"),
        "sound.mp4": ("survey", "no_video"),
        "text.mp4": ("survey", "unreadable"),
    }


def test_a_video_is_stored_with_its_frames_and_times(first: tuple[Path, Any]) -> None:
    rows = {Path(r["uri"]).name: r for r in TokenStore(Workspace.existing(first[0]).tokens).table().to_pylist()}
    assert rows["a.mp4"]["frames"] == 8
    assert rows["b.mkv"]["frames"] == 12
    vision = [(s["start_s"], s["end_s"]) for s in rows["a.mp4"]["spans"] if s["modality"] == 1]
    assert vision == [(0.0, 1.0), (1.0, 2.0)]  # the cue at one second is between them
    assert rows["book0.txt"]["frames"] == rows["book0.txt"]["frame_tokens"] == 0


def test_a_second_run_does_nothing(first: tuple[Path, Any], material: Path, text_tokenizer: Path) -> None:
    out, _ = first
    before = {p: p.stat().st_mtime_ns for folder in _MADE for p in (out / folder).rglob("*-0*")}
    assert before
    reports = run_stages(material, out, text_tokenizer, CONFIG)
    assert [report.new for report in reports.values()] == [0] * len(reports)
    assert {p: p.stat().st_mtime_ns for folder in _MADE for p in (out / folder).rglob("*-0*")} == before


def test_more_workers_and_another_order_give_the_same_bytes(
    first: tuple[Path, Any], material: Path, text_tokenizer: Path, tmp_path: Path
) -> None:
    rows = [{"uri": str(p)} for p in material.iterdir() if p.suffix in (".mp4", ".mkv", ".json") or "book" in p.name]
    for row in rows:
        if row["uri"].endswith("a.mp4"):
            row |= {"captions": "a caption", "transcript": str(material / "a.srt")}
    rows.append({"uri": str(material / "binary.txt")})
    random.Random(0).shuffle(rows)
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run_stages(tmp_path / "m.jsonl", tmp_path / "out", text_tokenizer, CONFIG, workers=2)
    assert made_bytes(tmp_path / "out") == made_bytes(first[0])


def run_command(material: Path, out: Path, text_tokenizer: Path) -> list[str]:
    """Return the arguments of a run with the settings of `first`."""
    command = ["run", str(material), "--out", str(out), "--context", "512", "--text-tokenizer", str(text_tokenizer)]
    return [*command, "--units", "4", "--select.val-fraction", "0.3", "--decode.fps", "4", "--pack.shard-bytes", "4096"]


@pytest.fixture(scope="module")
def whole(material: Path, text_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a run that was not stopped; its dataset has the text tokenizer, unlike that of `first`."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert longreel.main(run_command(material, out, text_tokenizer)) == 0
    return out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_resumes_and_ends_with_the_same_bytes(
    number: signal.Signals,
    first: tuple[Path, Any],
    whole: Path,
    material: Path,
    text_tokenizer: Path,
    commands: CommandServer,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    command = run_command(material, out, text_tokenizer)

    def stop(child: int) -> None:
        deadline = time.monotonic() + 120
        while not any(out.glob("logs/tokenize/*/*.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(child, number)

    printed = commands.stderr.read_text()
    code = commands.run(command, stop)
    if number == signal.SIGINT:
        assert code == 130
        assert "Run the same command" in commands.stderr.read_text().removeprefix(printed)
    else:
        assert code == -signal.SIGKILL
    assert not (out / "packed" / "512" / "dataset.json").exists()
    assert longreel.main(command) == 0
    assert made_bytes(out) == made_bytes(whole)
    assert made_bytes(out, ["tokens"]) == made_bytes(first[0], ["tokens"])
    assert (out / "packed" / "512" / "dataset.json").exists()


def test_a_license_and_source_for_all_inputs_reach_the_survey_and_stay_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text(story(0, 20))
    command = ["survey", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--units", "1"]
    table = tmp_path / "out" / "survey" / "1" / "unit-00000.parquet"
    assert longreel.main([*command, "--license", "CC-BY-4.0", "--source", "a site"]) == 0
    facts = {"license": ["CC-BY-4.0"], "source": ["a site"]}
    assert pq.read_table(table, columns=["license", "source"]).to_pydict() == facts
    assert longreel.main(command) == 0  # the workspace keeps them
    assert pq.read_table(table, columns=["license", "source"]).to_pydict() == facts
    assert longreel.main([*command, "--license", "MIT"]) == 2
    assert 'inputs.license: "CC-BY-4.0" -> "MIT"' in capsys.readouterr().err
