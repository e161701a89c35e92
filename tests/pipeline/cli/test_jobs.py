"""All stages on real files: generated videos, a trained text model, the small VQGAN, Beam's local runner."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from numpy.typing import NDArray

import longreel
from pipeline.cli.tokenizers import TrainTextTokenizer
from pipeline.dedup.config import DedupConfig
from pipeline.dedup.job import dedup_items
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage, pack
from pipeline.reports.reconstruction import find_video
from pipeline.runtime.beam import Runner, each
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.token_store import StoreFacts, TokenStore
from pipeline.runtime.worker_errors import ErrorLog
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.quarantine import write_quarantine
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.text.books import BookConfig
from pipeline.text.qa import QaConfig
from pipeline.tokenize import worker as tokenize
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.job import tokenize_items
from pipeline.tokenize.text_model import text_model_of
from pipeline.tokenize.worker import TokenizeWorker
from pipeline.tokenizer_jobs.train import TrainTokenizer
from pipeline.video.decoder import DecodeConfig
from schemas.errors import ConfigError, DatasetError, ManifestError
from tests.support.command_server import CommandServer
from tests.support.media import make_audio, make_video
from tests.support.texts import story
from tokenizer.text.sentencepiece import TextTokenizer, TextTrainConfig, train_text_tokenizer

pytestmark = pytest.mark.slow

BOOK = "It was a bright cold day, and the clocks were striking thirteen. {}\n"
CONFIG = TokenizeConfig(decode=DecodeConfig(fps=4))


def scene(seed: int) -> Callable[[int], NDArray[np.uint8]]:
    """Return a function that draws the frames of a unique scene: drifting patches of color."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return lambda i: np.roll(np.kron(patches, np.ones((8, 8, 1), np.uint8)), i, axis=1)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos (one with caption and transcript), two books, questions, and files with typical defects."""
    folder = tmp_path_factory.mktemp("material")
    for name, frames in (("a.mp4", 50), ("b.mkv", 75), ("c.mp4", 60)):
        make_video(folder / name, frames=frames, picture=scene(frames))
    (folder / "a.txt").write_text("a caption")
    (folder / "a.srt").write_text("1\n00:00:01,000 --> 00:00:01,500\nsomebody speaks\n")
    for n in range(2):
        (folder / f"book{n}.txt").write_text(story(n, 20))
    turns = [{"role": "context", "text": BOOK.format(9)}, {"role": "question", "text": "Why?"}]
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
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "text.model"
    return train_text_tokenizer([BOOK], out, TextTrainConfig(vocab_size=512))


def run(
    inputs: Path | str, out: Path, text_model: Path, *, workers: int = 1, config: TokenizeConfig = CONFIG
) -> dict[str, JobReport]:
    workspace, runner = Workspace.open(out, units=4), Runner(workers)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), decode=config.decode)
    reports = [
        survey_items([str(inputs)], workspace, worker, runner),
        dedup_items(workspace, DedupConfig(), runner),
        select_items(workspace, SelectConfig(val_fraction=0.3), runner),
        tokenize_items(workspace, config, text_model, runner),
        pack(workspace, Stage(name="512", context_length=512, config=PackConfig(shard_bytes=4096)), runner),
    ]
    write_quarantine(workspace)
    return {report.job: report for report in reports}


def made_bytes(out: Path) -> dict[str, bytes]:
    """Return the bytes of every file of the token store and the dataset."""
    files = [*(out / "tokens").iterdir(), *(out / "packed" / "512").iterdir()]
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(files)}


@pytest.fixture(scope="module")
def first(material: Path, text_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("first") / "out"
    return out, run(material, out, text_model)


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
    rows = {Path(r["uri"]).name: r for r in TokenStore(first[0] / "tokens").table().to_pylist()}
    assert rows["a.mp4"]["frames"] == 8
    assert rows["b.mkv"]["frames"] == 12
    vision = [(s["start_s"], s["end_s"]) for s in rows["a.mp4"]["spans"] if s["modality"] == 1]
    assert vision == [(0.0, 1.0), (1.0, 2.0)]  # the cue at one second is between them
    assert rows["book0.txt"]["frames"] == rows["book0.txt"]["frame_tokens"] == 0


def test_a_second_run_does_nothing(first: tuple[Path, Any], material: Path, text_model: Path) -> None:
    out, _ = first
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*-0*")}
    reports = run(material, out, text_model)
    assert [report.new for report in reports.values()] == [0] * len(reports)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*-0*")} == before


def test_more_workers_and_another_order_give_the_same_bytes(
    first: tuple[Path, Any], material: Path, text_model: Path, tmp_path: Path
) -> None:
    rows = [{"uri": str(p)} for p in material.iterdir() if p.suffix in (".mp4", ".mkv", ".json") or "book" in p.name]
    for row in rows:
        if row["uri"].endswith("a.mp4"):
            row |= {"captions": "a caption", "transcript": str(material / "a.srt")}
    rows.append({"uri": str(material / "binary.txt")})
    random.Random(0).shuffle(rows)
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(tmp_path / "m.jsonl", tmp_path / "out", text_model, workers=2)
    assert made_bytes(tmp_path / "out") == made_bytes(first[0])


def test_one_more_video_encodes_one_more_video(material: Path, text_model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").symlink_to(material / "a.mp4")
    assert run(folder, out, text_model)["tokenize"].new == 1
    (folder / "b.mkv").symlink_to(material / "b.mkv")
    (folder / "other.mkv").symlink_to(material / "b.mkv")  # the same bytes are not encoded twice
    reports = run(folder, out, text_model)
    assert (reports["tokenize"].new, reports["tokenize"].kept) == (1, 2)
    (folder / "a.mp4").unlink()
    reports = run(folder, out, text_model)
    assert (reports["tokenize"].new, reports["tokenize"].kept) == (0, 1)


def test_another_frame_rate_encodes_the_videos_again_but_not_the_books(
    material: Path, text_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("c.mp4", "book0.txt"):
        (folder / name).symlink_to(material / name)
    run(folder, tmp_path / "out", text_model)
    again = run(folder, tmp_path / "out", text_model, config=TokenizeConfig(decode=DecodeConfig(fps=2)))
    assert again["tokenize"].new == 1


def test_a_file_that_changed_after_the_survey_is_rejected_until_it_is_restored(
    text_model: Path, tmp_path: Path
) -> None:
    book = tmp_path / "in" / "book.txt"
    book.parent.mkdir()
    book.write_text(story(1))
    before = book.stat()
    workspace = Workspace.open(tmp_path / "out", units=2)
    survey_items([str(book.parent)], workspace, SurveyWorker(workspace=workspace, config=SurveyConfig()), Runner())
    select_items(workspace, SelectConfig(), Runner())
    book.write_text(story(1).swapcase())  # as long as the first
    assert tokenize_items(workspace, CONFIG, text_model, Runner()).rejected == {"changed": 1}
    book.unlink()
    assert tokenize_items(workspace, CONFIG, text_model, Runner()).rejected == {"missing": 1}
    book.write_text(story(1))
    os.utime(book, ns=(before.st_atime_ns, before.st_mtime_ns))
    reports = run(book.parent, tmp_path / "out", text_model)
    assert (reports["survey"].new, reports["tokenize"].kept) == (0, 1)
    assert pq.read_table(workspace.quarantine).num_rows == 0


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A folder of three books."""
    folder = tmp_path / "books"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.txt").write_text(story(n, 4))
    return folder


@pytest.fixture(scope="module")
def tokenized_books(text_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of three books, and a workspace with their tokens and dataset."""
    folder = tmp_path_factory.mktemp("books")
    for n in range(3):
        (folder / f"{n}.txt").write_text(story(n, 4))
    out = tmp_path_factory.mktemp("books-made") / "out"
    run(folder, out, text_model)
    return folder, out


@pytest.fixture
def questions(books: Path, material: Path) -> Path:
    """The books with a video and three question-answer documents, of which one is broken."""
    (books / "c.mp4").symlink_to(material / "c.mp4")
    story = {"role": "context", "text": BOOK.format(7)}
    for n in range(2):
        asked = [{"role": "question", "text": f"Clock {i}?"} for i in range(n + 1)]
        answers = [{"role": "answer", "text": f"Thirteen, as on day {i}."} for i in range(n + 1)]
        turns = [story, *(turn for pair in zip(asked, answers, strict=True) for turn in pair)]
        (books / f"{n}.qa.json").write_text(json.dumps({"turns": turns}))
    (books / "broken.qa.json").write_text('{"turns": [')
    (books / "notes.json").write_text("{}")  # not a question-answer document: skipped
    return books


def test_only_the_answers_of_question_answer_documents_have_loss_weight(
    questions: Path, text_model: Path, tmp_path: Path
) -> None:
    out, text = tmp_path / "out", TextTokenizer.load(text_model)
    reports = run(questions, out, text_model)
    assert (reports["survey"].items, reports["survey"].rejected) == (7, {"unreadable": 1})
    assert (reports["tokenize"].kept, reports["pack 512"].kept) == (6, 6)
    rejected = pq.read_table(out / "quarantine.parquet").to_pylist()
    assert [(Path(r["uri"]).name, r["kind"], r["job"]) for r in rejected] == [("broken.qa.json", "qa", "survey")]

    store = TokenStore(out / "tokens")
    rows = {Path(row["uri"]).name: row for row in store.table().to_pylist()}
    assert {name for name, row in rows.items() if row["kind"] == "qa"} == {"0.qa.json", "1.qa.json"}
    for name, row in rows.items():
        tokens = store.read(row["unit"], row["batch"], row["row"])
        said = [
            (text.decode(tokens[s["start"] :][: s["length"]]), s["weight"]) for s in row["spans"] if not s["modality"]
        ]
        if name == "1.qa.json":
            assert said == [
                (BOOK.format(7) + "USER: Clock 0?\nASSISTANT:", 0),
                (" Thirteen, as on day 0.\n", 1),
                ("USER: Clock 1?\nASSISTANT:", 0),
                (" Thirteen, as on day 1.", 1),
            ]
        elif row["kind"] != "qa":
            assert {weight for _, weight in said} == {1}
    ledger = pq.read_table(out / "packed" / "512" / "documents.parquet").to_pylist()
    assert sorted(r["weight"] for r in ledger if r["document_id"] == rows["1.qa.json"]["document_id"]) == [0, 0, 1, 1]


def test_other_prefixes_tokenize_only_the_question_answer_documents_again(
    questions: Path, text_model: Path, tmp_path: Path
) -> None:
    assert run(questions, tmp_path / "out", text_model)["tokenize"].new == 6
    other = TokenizeConfig(
        decode=CONFIG.decode, qa=QaConfig(question_prefix="Q:", answer_prefix="A:", max_bytes=1 << 20)
    )
    reports = run(questions, tmp_path / "out", text_model, config=other)
    assert (reports["survey"].new, reports["tokenize"].new) == (0, 2)
    assert {report.new for report in run(questions, tmp_path / "out", text_model, config=other).values()} == {0}


def test_the_text_model_is_trained_on_question_answer_documents_too(questions: Path, tmp_path: Path) -> None:
    for path in questions.iterdir():
        if path.suffix != ".json":
            path.unlink()
    workspace = Workspace.open(tmp_path / "out", units=2)
    survey_items([str(questions)], workspace, SurveyWorker(workspace=workspace, config=SurveyConfig()), Runner())
    select_items(workspace, SelectConfig(val_fraction=0), Runner())
    text = TextTokenizer.load(text_model_of(workspace, None, CONFIG))
    assert len(text.encode("Thirteen, as on day")) < 8  # of 19 letters, none of whose pieces our own sentences have


@pytest.mark.parametrize("harm", ["garbage", "lost"])
@pytest.mark.parametrize(
    "files", ["survey/unit-*.parquet", "selection/unit-*.parquet", "tokens/unit-*.parquet", "tokens/*.arrow"]
)
def test_a_damaged_or_missing_unit_is_rebuilt_with_the_same_bytes(
    files: str, harm: str, tokenized_books: tuple[Path, Path], text_model: Path, tmp_path: Path
) -> None:
    books, made = tokenized_books
    out = Path(shutil.copytree(made, tmp_path / "out"))
    before = made_bytes(out)
    for path in out.glob(files):
        path.write_bytes(b"not what was here") if harm == "garbage" else path.unlink()
    reports = run(books, out, text_model)
    assert reports["tokenize"].kept == 3
    assert made_bytes(out) == before


@pytest.mark.parametrize("harm", ["garbage", "lost"])
def test_tokenize_refuses_a_selection_with_a_damaged_or_missing_unit(
    harm: str, tokenized_books: tuple[Path, Path], text_model: Path, tmp_path: Path
) -> None:
    workspace = Workspace.existing(Path(shutil.copytree(tokenized_books[1], tmp_path / "out")))
    unit = next(workspace.selection.glob("unit-*.parquet"))
    unit.write_bytes(b"PAR1") if harm == "garbage" else unit.unlink()
    tokens = {p: p.read_bytes() for p in workspace.tokens.iterdir()}
    with pytest.raises(DatasetError, match=r"selection.*again"):
        tokenize_items(workspace, CONFIG, text_model, Runner())
    assert {p: p.read_bytes() for p in workspace.tokens.iterdir()} == tokens


def test_moving_a_file_or_changing_its_split_packs_again_without_encoding(
    books: Path, text_model: Path, tmp_path: Path
) -> None:
    manifest, out = tmp_path / "m.jsonl", tmp_path / "out"

    def listed(split: str) -> Path:
        manifest.write_text("\n".join(json.dumps({"uri": str(p), "split": split}) for p in sorted(books.iterdir())))
        return manifest

    run(listed("train"), out, text_model)
    (books / "0.txt").rename(books / "renamed.txt")
    reports = run(listed("val"), out, text_model)
    assert (reports["tokenize"].new, reports["pack 512"].new) == (0, 3)
    rows = TokenStore(out / "tokens").table().to_pylist()
    assert {row["split"] for row in rows} == {"val"}
    assert {Path(row["uri"]).name for row in rows} == {"1.txt", "2.txt", "renamed.txt"}


def test_raising_the_size_limit_accepts_items_that_it_rejected(books: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    for limit, rejected in ((5, {"too_large": 3}), (1 << 20, {})):
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig(max_bytes=limit))
        assert survey_items([str(books)], workspace, worker, Runner()).rejected == rejected


def test_question_answer_documents_have_their_own_size_limit(books: Path, tmp_path: Path) -> None:
    (books / "long.qa.json").write_text('{"turns": [{"role": "answer", "text": "%s"}]}' % ("x" * 5000))
    workspace = Workspace.open(tmp_path / "out", units=2)
    for limit, rejected in ((4000, {"too_large": 1}), (6000, {})):
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), qa=QaConfig(max_bytes=limit))
        assert survey_items([str(books)], workspace, worker, Runner()).rejected == rejected


def test_a_vqgan_needs_images_or_videos_and_a_text_model_needs_texts(tmp_path: Path) -> None:
    (tmp_path / "a.qa.json").write_text('{"turns": [{"role": "answer", "text": "Thirteen."}]}')
    TrainTextTokenizer(inputs=(str(tmp_path),), out=tmp_path / "text.model")(())
    assert TextTokenizer.load(tmp_path / "text.model").is_lossless
    with pytest.raises(ConfigError, match="no video or image to train on"):
        TrainTokenizer(inputs=(str(tmp_path),), out=tmp_path / "vqgan.safetensors")(())
    (tmp_path / "a.qa.json").rename(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="no book and no question-answer document"):
        TrainTextTokenizer(inputs=(str(tmp_path),), out=tmp_path / "text.model")(())


def test_retry_surveys_only_the_rejected_items_again(books: Path, tmp_path: Path) -> None:
    (books / "0.txt").write_bytes(b"\0")
    workspace = Workspace.open(tmp_path / "out", units=10_000)  # each in a unit of its own: `new` counts units' items
    for retry, new in ((False, 3), (False, 0), (True, 1)):
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), retry=retry)
        assert survey_items([str(books)], workspace, worker, Runner()).new == new


def test_retry_tokenizes_only_the_rejected_items_again(books: Path, text_model: Path, tmp_path: Path) -> None:
    (books / "0.txt").write_text(story(0, 40))
    config = TokenizeConfig(decode=CONFIG.decode, books=BookConfig(max_bytes=10_000))  # of this job alone
    assert run(books, tmp_path / "out", text_model, config=config)["tokenize"].rejected == {"too_large": 1}
    workspace = Workspace.existing(tmp_path / "out")
    for retry, new in ((False, 0), (True, 1)):
        assert tokenize_items(workspace, config, text_model, Runner(), retry=retry).new == new
    with pytest.raises(ConfigError, match="has no tokenized video"):
        find_video(workspace, None)


def test_every_commit_interval_adds_at_least_one_document(
    books: Path, text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize, "_COMMIT_EVERY_S", 0.0)
    assert run(books, tmp_path / "out", text_model)["tokenize"].kept == 3


def test_the_lock_admits_one_command_and_removes_temporary_files_of_a_killed_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".workspace.json.12345678.tmp").touch()  # killed at its very first step
    workspace = Workspace.open(tmp_path / "out")
    workspace.tokens.mkdir()
    (workspace.tokens / ".unit-00000.arrow.12345678.tmp").touch()
    with workspace.locked():
        assert not list(workspace.root.rglob("*.tmp"))
        with pytest.raises(ConfigError, match="another longreel command is running in"), workspace.locked():
            pass
    with workspace.locked():
        pass


def test_a_workspace_root_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace.open(Path("out")).root == tmp_path / "out"


def test_a_text_of_40_gigabytes_is_rejected_without_reading_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "huge.txt").open("wb") as f:
        f.truncate(40 << 30)  # sparse: takes no room, and would take minutes to read
    workspace = Workspace.open(tmp_path / "out", units=1)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
    started = time.monotonic()
    assert survey_items([str(tmp_path / "in")], workspace, worker, Runner()).rejected == {"too_large": 1}
    assert time.monotonic() - started < 60  # of the 100 and more that 40 GB take to hash


def test_decoding_and_encoding_are_fused_and_emit_only_a_count(tmp_path: Path) -> None:
    worker = TokenizeWorker(workspace=Workspace.open(tmp_path / "out"), config=CONFIG, text_model=tmp_path)
    runner = FnApiRunner()
    pipeline = beam.Pipeline(runner=runner)
    _ = pipeline | "Tokenize" >> each([0, 1], worker, ErrorLog(tmp_path / "error.txt"))
    _, stages = runner.create_stages(pipeline.to_runner_api())
    # Numbers of units are made and spread in the first stage; the second decodes, encodes and writes.
    assert len(stages) == 2
    (working,) = [stage for stage in stages if any(t.unique_name == "Tokenize/Work" for t in stage.transforms)]
    (work,) = [t for t in working.transforms if t.unique_name == "Tokenize/Work"]
    consumed = {name for stage in stages for t in stage.transforms for name in t.inputs.values()}
    assert not set(work.outputs.values()) & consumed
    assert not any("sink" in t.spec.urn for t in working.transforms)


def test_a_stage_names_the_stage_that_must_run_before_it(text_model: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    with pytest.raises(DatasetError, match="run the job before this one"):
        select_items(workspace, SelectConfig(), Runner())
    with pytest.raises(DatasetError, match="run `longreel select` first"):
        tokenize_items(workspace, CONFIG, text_model, Runner())
    with pytest.raises(DatasetError, match="longreel tokenize"):
        StoreFacts.read(workspace.tokens)


def test_a_folder_with_other_files_is_not_used_as_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(ConfigError, match="not empty and not a Longreel workspace"):
        Workspace.open(tmp_path)
    workspace = Workspace.open(tmp_path / "new")
    with pytest.raises(ManifestError, match="no such file or folder"):
        survey_items(["gone"], workspace, SurveyWorker(workspace=workspace, config=SurveyConfig()), Runner())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_resumes_and_ends_with_the_same_bytes(
    number: signal.Signals,
    first: tuple[Path, Any],
    material: Path,
    text_model: Path,
    commands: CommandServer,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    command = ["run", str(material), "--out", str(out), "--context", "512", "--text-model", str(text_model)]
    command += ["--units", "4", "--select.val-fraction", "0.3", "--decode.fps", "4", "--pack.shard-bytes", "4096"]

    def stop(child: int) -> None:
        log = out / "logs" / "tokenize.jsonl"
        deadline = time.monotonic() + 120
        while not log.exists() and time.monotonic() < deadline:
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
    assert made_bytes(out) == made_bytes(first[0])
    assert (out / "packed" / "512" / "dataset.json").exists()
