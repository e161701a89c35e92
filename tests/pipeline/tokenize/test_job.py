"""The tokenize job: which items it tokenizes again, and what it makes of clips and of question-answer documents."""

from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from numpy.typing import NDArray

from pipeline.dataset.verify.verify import verify
from pipeline.reports.reconstruction import find_video
from pipeline.runtime.beam import Runner, each
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.units import unit_name
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.text.books import BookConfig
from pipeline.text.qa import QaConfig
from pipeline.tokenize.clips import ClipConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.job import tokenize_items
from pipeline.tokenize.worker import TokenizeWorker
from schemas.errors import ConfigError, DatasetError
from schemas.storage.location import located
from tests.support.inputs.media import make_video
from tests.support.stages import (
    CLOCKS,
    Models,
    Reports,
    content,
    made_bytes,
    rows_of,
    run_on_clips,
    run_stages,
    still_scenes,
    write_books,
)
from tests.support.stored_files import file_of
from tests.support.texts import story
from tests.support.tokenizer_json import save, tokenizer_json
from tokenizer.text.tokenizer import TextTokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenized_books(models: Models, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of three books, and a workspace with their tokens and dataset."""
    folder = write_books(tmp_path_factory.mktemp("books"))
    out = tmp_path_factory.mktemp("books-made") / "out"
    run_stages(folder, out, models.text, models.config())
    return folder, out


def _copy(workspace: Workspace, folder: Path) -> Workspace:
    """Return a copy of a workspace, with the times of its files."""
    return Workspace.existing(Path(shutil.copytree(workspace.root.local(), folder / "copy")))


def test_one_more_video_encodes_one_more_video(videos: Path, models: Models, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").hardlink_to(videos / "a.mp4")
    assert run_stages(folder, out, models.text, models.config())["tokenize"].new == 1
    (folder / "b.mkv").hardlink_to(videos / "b.mkv")
    (folder / "other.mkv").hardlink_to(videos / "b.mkv")  # the same bytes are not encoded twice
    reports = run_stages(folder, out, models.text, models.config())
    assert (reports["tokenize"].new, reports["tokenize"].kept) == (1, 2)
    (folder / "a.mp4").unlink()
    reports = run_stages(folder, out, models.text, models.config())
    assert (reports["tokenize"].new, reports["tokenize"].kept) == (0, 2)  # an absent video keeps its tokens


def test_another_frame_rate_encodes_the_videos_again_but_not_the_books(
    videos: Path, models: Models, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("c.mp4", "book0.txt"):
        (folder / name).hardlink_to(videos / name)
    run_stages(folder, tmp_path / "out", models.text, models.config())
    again = run_stages(folder, tmp_path / "out", models.text, models.config(fps=2))
    assert again["tokenize"].new == 1


def test_a_file_that_changed_after_the_survey_is_rejected_until_it_is_restored(models: Models, tmp_path: Path) -> None:
    book = tmp_path / "in" / "book.txt"
    book.parent.mkdir()
    book.write_text(story(1))
    before = book.stat()
    workspace = Workspace.open(tmp_path / "out", units=2)
    survey_items([str(book.parent)], workspace, SurveyWorker(workspace=workspace, config=SurveyConfig()), Runner())
    select_items(workspace, SelectConfig(), Runner())
    book.write_text(story(1).swapcase())  # as long as the first
    assert tokenize_items(workspace, models.config(), models.text, Runner()).rejected == {"changed": 1}
    book.unlink()
    assert tokenize_items(workspace, models.config(), models.text, Runner()).rejected == {"missing": 1}
    book.write_text(story(1))
    os.utime(book, ns=(before.st_atime_ns, before.st_mtime_ns))
    reports = run_stages(book.parent, tmp_path / "out", models.text, models.config())
    assert (reports["survey"].new, reports["tokenize"].kept) == (0, 1)
    assert pq.read_table(workspace.quarantine.local()).num_rows == 0


def test_only_the_answers_of_question_answer_documents_have_loss_weight(
    questions: Path, models: Models, tmp_path: Path
) -> None:
    out, text = tmp_path / "out", TextTokenizer.load(models.text)
    reports = run_stages(questions, out, models.text, models.config())
    assert (reports["survey"].items, reports["survey"].rejected) == (7, {"unreadable": 1})
    assert (reports["tokenize"].kept, reports["pack 512"].kept) == (6, 6)
    rejected = pq.read_table(out / "quarantine.parquet").to_pylist()
    assert [(Path(r["uri"]).name, r["kind"], r["job"]) for r in rejected] == [("broken.qa.json", "qa", "survey")]

    store = TokenStore(Workspace.existing(out).tokens)
    rows = {Path(row["uri"]).name: row for row in store.table().to_pylist()}
    assert {name for name, row in rows.items() if row["kind"] == "qa"} == {"0.qa.json", "1.qa.json"}
    for name, row in rows.items():
        tokens = store.read(row["unit"], row["batch"], row["row"])
        texts = [
            (text.decode(tokens[s["start"] :][: s["length"]]), s["weight"]) for s in row["spans"] if not s["modality"]
        ]
        if name == "1.qa.json":
            assert texts == [
                (CLOCKS.format(7) + "USER: Clock 0?\nASSISTANT:", 0),
                (" Thirteen, as on day 0.\nUSER:", 1),
                (" Clock 1?\nASSISTANT:", 0),
                (" Thirteen, as on day 1.", 1),
            ]
        elif row["kind"] != "qa":
            assert {weight for _, weight in texts} == {1}
    ledger = pq.read_table(file_of(out / "packed" / "512", "documents.parquet")).to_pylist()
    assert sorted(r["weight"] for r in ledger if r["document_id"] == rows["1.qa.json"]["document_id"]) == [0, 0, 1, 1]


def test_other_prefixes_tokenize_only_the_question_answer_documents_again(
    questions: Path, models: Models, tmp_path: Path
) -> None:
    assert run_stages(questions, tmp_path / "out", models.text, models.config())["tokenize"].new == 6
    other = models.config(qa=QaConfig(question_prefix="Q:", answer_prefix="A:", max_bytes=1 << 20))
    reports = run_stages(questions, tmp_path / "out", models.text, other)
    assert (reports["survey"].new, reports["tokenize"].new) == (0, 2)
    assert {report.new for report in run_stages(questions, tmp_path / "out", models.text, other).values()} == {0}


@pytest.mark.parametrize("harm", ["garbage", "lost"])
@pytest.mark.parametrize(
    "files", ["survey/*/unit-*.parquet", "selection/*/unit-*.parquet", "tokens/*/unit-*.parquet", "tokens/*/*.arrow"]
)
def test_a_damaged_or_missing_unit_is_rebuilt_with_the_same_bytes(
    files: str, harm: str, tokenized_books: tuple[Path, Path], models: Models, tmp_path: Path
) -> None:
    books, made = tokenized_books
    out = Path(shutil.copytree(made, tmp_path / "out"))
    before = made_bytes(out)
    for path in out.glob(files):
        path.write_bytes(b"not what was here") if harm == "garbage" else path.unlink()
    reports = run_stages(books, out, models.text, models.config())
    assert reports["tokenize"].kept == 3
    assert made_bytes(out) == before


@pytest.mark.parametrize("harm", ["garbage", "lost"])
def test_tokenize_refuses_a_selection_with_a_damaged_or_missing_unit(
    harm: str, tokenized_books: tuple[Path, Path], models: Models, tmp_path: Path
) -> None:
    workspace = Workspace.existing(Path(shutil.copytree(tokenized_books[1], tmp_path / "out")))
    unit = next(workspace.selection.local().glob("unit-*.parquet"))
    unit.write_bytes(b"PAR1") if harm == "garbage" else unit.unlink()
    tokens = {p: p.read_bytes() for p in workspace.tokens.local().iterdir()}
    with pytest.raises(DatasetError, match=r"selection.*again"):
        tokenize_items(workspace, models.config(), models.text, Runner())
    assert {p: p.read_bytes() for p in workspace.tokens.local().iterdir()} == tokens


def test_moving_a_file_or_changing_its_split_packs_again_without_encoding(
    books: Path, models: Models, tmp_path: Path
) -> None:
    manifest, out = tmp_path / "m.jsonl", tmp_path / "out"

    def listed(split: str) -> Path:
        manifest.write_text("\n".join(json.dumps({"uri": str(p), "split": split}) for p in sorted(books.iterdir())))
        return manifest

    run_stages(listed("train"), out, models.text, models.config())
    (books / "0.txt").rename(books / "renamed.txt")
    reports = run_stages(listed("val"), out, models.text, models.config())
    assert (reports["tokenize"].new, reports["pack 512"].new) == (0, 3)
    rows = TokenStore(Workspace.existing(out).tokens).table().to_pylist()
    assert {row["split"] for row in rows} == {"val"}
    assert {Path(row["uri"]).name for row in rows} == {"1.txt", "2.txt", "renamed.txt"}


def test_retry_tokenizes_only_the_rejected_items_again(books: Path, models: Models, tmp_path: Path) -> None:
    (books / "0.txt").write_text(story(0, 40))
    config = models.config(books=BookConfig(max_bytes=10_000))  # of this job alone
    assert run_stages(books, tmp_path / "out", models.text, config)["tokenize"].rejected == {"too_large": 1}
    workspace = Workspace.existing(tmp_path / "out")
    for retry, new in ((False, 0), (True, 1)):
        assert tokenize_items(workspace, config, models.text, Runner(), retry=retry).new == new
    with pytest.raises(ConfigError, match="has no tokenized video"):
        find_video(workspace, None)


def test_decoding_and_encoding_are_fused_and_emit_only_a_count(tmp_path: Path) -> None:
    worker = TokenizeWorker(
        workspace=Workspace.open(tmp_path / "out"), config=TokenizeConfig(), text_tokenizer=located(tmp_path)
    )
    runner = FnApiRunner()
    pipeline = beam.Pipeline(runner=runner)
    each(pipeline, [0, 1], worker, JobLog.start(tmp_path, "tokenize"), {})
    _, stages = runner.create_stages(pipeline.to_runner_api())
    # The first stage distributes the numbers of units; the second decodes, encodes and writes.
    assert len(stages) == 2
    (working,) = [stage for stage in stages if any(t.unique_name == "Work" for t in stage.transforms)]
    (work,) = [t for t in working.transforms if t.unique_name == "Work"]
    consumed = {name for stage in stages for t in stage.transforms for name in t.inputs.values()}
    assert not set(work.outputs.values()) & consumed
    assert not any("sink" in t.spec.urn for t in working.transforms)


def test_each_shot_is_a_document_and_items_are_counted_once(clips: tuple[Workspace, Reports]) -> None:
    workspace, reports = clips
    report = reports["tokenize"]
    assert (report.items, report.kept, report.rejected, report.facts["documents"]) == (3, 3, {}, 5)
    assert (reports["pack 512"].items, reports["pack 512"].kept) == (5, 5)
    rows = rows_of(workspace, "three.mp4")
    assert [row["document_id"][64:] for row in rows] == ["#00000", "#00001", "#00002"]
    assert [row["clip"] for row in rows] == [{"start": a, "end": b} for a, b in pairwise([0.0, 2.0, 5.0, 6.0])]
    assert [row["shots"] for row in rows] == [[0.0], [2.0], [5.0]]
    assert [row["frames"] for row in rows] == [8, 12, 4] == [row["frames_promised"] for row in rows]
    assert len({row["unit"] for row in rows}) == len({row["split"] for row in rows}) == 1
    assert [(row["cues"], row["cues_outside"]) for row in rows] == [(1, 1), (1, 0), (0, 0)]
    assert [row["detail"] for row in rows] == ["transcript: 1 outside the video", None, None]
    assert "2 cues, 1 cue outside their videos" in report.line()
    (one,), (book,) = rows_of(workspace, "one.mp4"), rows_of(workspace, "book.txt")
    assert (one["document_id"][64:], one["clip"]) == ("#00000", {"start": 0.0, "end": 2.0})
    assert (len(book["document_id"]), book["clip"], book["shots"]) == (64, None, None)


def test_clips_together_equal_the_whole_video(
    clips: tuple[Workspace, Reports], shots_folder: Path, models: Models, tmp_path: Path
) -> None:
    text = TextTokenizer.load(models.text)
    whole, reports = run_on_clips(shots_folder, tmp_path / "out", models, ClipConfig())
    assert "documents" not in reports["tokenize"].facts
    (row,) = rows_of(whole, "three.mp4")
    assert (row["clip"], row["shots"]) == (None, [0.0, 2.0, 5.0])
    codes, texts = content(whole, row, text)
    parts = [content(clips[0], part, text) for part in rows_of(clips[0], "three.mp4")]
    assert np.array_equal(np.concatenate([part for part, _ in parts]), codes)
    assert sorted(texts) == ["a caption", "somebody speaks", "twice"]
    assert [sorted(texts_of_clip) for _, texts_of_clip in parts] == [
        ["a caption", "somebody speaks"],
        ["a caption", "twice"],  # begins in the first shot, and lasts longer in the second
        ["a caption"],
    ]
    # The same workspace with other clips: the videos are tokenized again, and the book is not.
    _, reports = run_on_clips(shots_folder, whole.root.local(), models, ClipConfig(clips="seconds", max_clip_s=2.5))
    assert (reports["tokenize"].new, reports["tokenize"].facts["documents"]) == (2, 5)
    assert [row["clip"]["end"] for row in rows_of(whole, "three.mp4")] == [2.0, 4.0, 6.0]


def test_a_second_run_does_nothing_and_a_lost_unit_is_computed_again_with_the_same_bytes(
    clips: tuple[Workspace, Reports], shots_folder: Path, models: Models, tmp_path: Path
) -> None:
    workspace = _copy(clips[0], tmp_path)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in workspace.tokens.local().glob("unit-*")}
    _, reports = run_on_clips(shots_folder, workspace.root.local(), models)
    assert [report.new for report in reports.values()] == [0, 0, 0, 0]
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in workspace.tokens.local().glob("unit-*")} == before
    (workspace.tokens / f"{unit_name(rows_of(workspace, 'three.mp4')[0]['unit'])}.parquet").delete()
    _, reports = run_on_clips(shots_folder, workspace.root.local(), models)
    assert reports["tokenize"].new >= 1
    assert {p: p.read_bytes() for p in workspace.tokens.local().glob("unit-*")} == {
        p: data for p, (data, _) in before.items()
    }


def test_bars_that_the_survey_found_are_cropped_unless_disabled(
    shots_folder: Path, models: Models, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()

    def barred(i: int) -> NDArray[np.uint8]:
        picture = still_scenes([60])(i).copy()
        picture[:16] = picture[48:] = 0
        return picture

    make_video(folder / "barred.mp4", frames=50, picture=barred)
    workspace, _ = run_on_clips(folder, tmp_path / "out", models, ClipConfig())
    text = TextTokenizer.load(models.text)
    found = []
    for crop_bars in (True, False, True):
        report = tokenize_items(workspace, models.clip_config(ClipConfig(), crop_bars=crop_bars), models.text, Runner())
        (row,) = rows_of(workspace, "barred.mp4")
        assert (report.new, bool(row["crop"])) == (1 if found else 0, crop_bars)
        found.append((row["fingerprint"], content(workspace, row, text)[0].tobytes()))
    assert found[0] == found[2]
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_a_tokenizer_without_markers_tokenizes_texts_and_refuses_videos(
    models: Models, videos: Path, tmp_path: Path
) -> None:
    tokenizer = save(tokenizer_json("gpt2", ["x"], size=0), tmp_path / "bytes")
    folder = write_books(tmp_path / "in", 1)
    reports = run_stages(folder, tmp_path / "out", tokenizer, models.config())
    assert (reports["tokenize"].kept, verify(located(tmp_path / "out" / "packed" / "512")).problems) == (1, ())
    (folder / "a.mp4").hardlink_to(videos / "a.mp4")
    with pytest.raises(ConfigError, match=r"has no pieces for <vision>.*\(1 of kind video\)"):
        run_stages(folder, tmp_path / "out", tokenizer, models.config())


def test_without_a_selection_the_error_names_the_command_to_run(models: Models, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    with pytest.raises(DatasetError, match="run `longreel select` first"):
        tokenize_items(workspace, models.config(), models.text, Runner())


def test_an_absent_book_keeps_its_tokens_and_its_place_in_the_dataset(models: Models, tmp_path: Path) -> None:
    folder = write_books(tmp_path / "books")
    run_stages(folder, tmp_path / "out", models.text, models.config())
    before = made_bytes(tmp_path / "out")
    (folder / "1.txt").rename(tmp_path / "away.txt")
    reports = run_stages(folder, tmp_path / "out", models.text, models.config())
    assert "absent and kept as they were: 1 of 3 known items" in reports["survey"].line()
    assert {report.new for report in reports.values()} == {0}
    assert made_bytes(tmp_path / "out") == before
    (tmp_path / "away.txt").rename(folder / "1.txt")
    assert {report.new for report in run_stages(folder, tmp_path / "out", models.text, models.config()).values()} == {0}
    assert made_bytes(tmp_path / "out") == before


def test_an_item_that_disappears_before_it_is_tokenized_is_tried_again_by_every_run(
    models: Models, tmp_path: Path
) -> None:
    folder = write_books(tmp_path / "books")
    config = models.config()
    workspace = Workspace.open(tmp_path / "out", units=4)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), decode=config.decode)
    survey_items([str(folder)], workspace, worker, Runner())
    select_items(workspace, SelectConfig(), Runner())
    (folder / "1.txt").rename(tmp_path / "away.txt")
    report = tokenize_items(workspace, config, models.text, Runner())
    assert (report.kept, report.rejected) == (2, {"missing": 1})
    (tmp_path / "away.txt").rename(folder / "1.txt")
    assert tokenize_items(workspace, config, models.text, Runner()).kept == 3
