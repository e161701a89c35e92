"""What of a video becomes a document: cutting and sharing as arithmetic, then whole jobs on videos of several shots."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.cli.datasets import Trace
from pipeline.dataset.forget.forget import forget, plan, prepare
from pipeline.dataset.forget.plan import Found, choose, find_documents
from pipeline.dataset.verify.verify import verify
from pipeline.packing.chunks import documents_of
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage, pack
from pipeline.reports.reconstruction import codes_of, find_video, source_frames
from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.token_store import StoreFacts, TokenStore, one_of_each_item
from pipeline.runtime.units import unit_name
from pipeline.runtime.workspace import Workspace
from pipeline.select.job import select_items
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.text.transcripts import Cue
from pipeline.tokenize.clips import Clip, ClipConfig, cut, share_cues
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.interleave import InterleaveConfig, TextSegment, VisionSegment, parse_document
from pipeline.tokenize.job import tokenize_items
from pipeline.tokenize.tools import load_codec, make_vocabulary
from pipeline.tokenize.worker import document_fingerprint
from pipeline.video.decoder import DecodeConfig
from schemas.dataset import read_card
from schemas.errors import ConfigError
from schemas.fingerprint import bucket, fingerprint
from schemas.records import LEDGER, TOKENS, clip_id, item_of
from schemas.rows import Crop, SurveyRow, VisualFacts
from tests.support.media import make_video
from tests.support.survey_rows import select_config
from tests.support.texts import story
from tests.support.token_stores import video
from tokenizer.text.sentencepiece import TextTokenizer, TextTrainConfig, train_text_tokenizer

pytestmark = pytest.mark.slow

FPS = 4
SHOTS = ClipConfig(clips="shots")
WORDS = "a caption somebody speaks twice and once more\n"


@given(
    frames=st.integers(1, 200),
    shot_frames=st.lists(st.integers(0, 210), max_size=12).map(sorted),
    shortest=st.floats(0, 5),
    longest=st.none() | st.floats(5, 30),
    clips=st.sampled_from(["whole", "shots", "seconds"]),
)
def test_clips_contain_every_frame_once_and_respect_the_length_limits(
    frames: int, shot_frames: list[int], shortest: float, longest: float | None, clips: Any
) -> None:
    if clips == "seconds" and longest is None:
        longest = 7.5
    config = ClipConfig(clips=clips, min_clip_s=shortest, max_clip_s=longest)
    parts = cut(frames, shot_frames, config, fps=FPS)
    assert [i for part in parts for i in range(part.first, part.end)] == list(range(frames))
    lengths = [part.end - part.first for part in parts]
    assert min(lengths) > 0
    if clips == "whole":
        assert lengths == [frames]
    elif longest is not None:
        assert max(lengths) <= longest * FPS
    if clips == "shots" and longest is None:
        assert len(parts) == 1 or min(lengths) >= shortest * FPS
        assert {part.first for part in parts} <= {0, *shot_frames}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ClipConfig(clips="shots", min_clip_s=0), [(0, 8), (8, 10), (10, 40)]),
        (ClipConfig(clips="shots", min_clip_s=1), [(0, 8), (8, 40)]),  # the shot of two frames has its follower
        (ClipConfig(clips="shots", min_clip_s=1, max_clip_s=3), [(0, 8), (8, 18), (18, 29), (29, 40)]),
        (ClipConfig(clips="seconds", max_clip_s=3), [(0, 10), (10, 20), (20, 30), (30, 40)]),
        (ClipConfig(clips="seconds", max_clip_s=0.05), [(i, i + 1) for i in range(40)]),  # a frame at least
    ],
)
def test_short_shots_are_joined_and_long_shots_are_cut_evenly(
    config: ClipConfig, expected: list[tuple[int, int]]
) -> None:
    assert cut(40, [0, 8, 10, 40], config, fps=FPS) == expected


def test_a_short_last_shot_is_joined_with_the_previous_one() -> None:
    assert cut(40, [0, 20, 38], ClipConfig(clips="shots"), fps=FPS) == [(0, 20), (20, 40)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": "scenes"},
        {"clips": "seconds"},
        {"min_clip_s": -1},
        {"min_clip_s": float("nan")},
        {"clips": "shots", "min_clip_s": 5, "max_clip_s": 4},
        {"max_clip_s": 0},
        {"max_clip_s": float("nan")},
    ],
)
def test_invalid_clip_options_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"clip"):
        ClipConfig(**wrong)


def test_clips_by_shots_require_shot_detection() -> None:
    with pytest.raises(ConfigError, match="clips=shots requires shot detection"):
        TokenizeConfig(cutting=SHOTS, shots="none")


def test_a_cue_belongs_to_the_clip_with_the_longest_overlap() -> None:
    clips = [Clip(0, 8), Clip(8, 16), Clip(16, 24)]  # two seconds each
    cues = {
        "in the first": (0.5, 1.5),
        "longer in the second": (1.5, 3.0),
        "longer in the first": (0.5, 2.4),
        "as long in both": (1.0, 3.0),
        "across all, longest in the middle": (1.5, 5.0),
        "behind the end": (9.0, 10.0),
        "of no length": (4.0, 4.0),
    }
    shares = share_cues([Cue(*times, text) for text, times in cues.items()], clips, fps=FPS)
    assert [{cue.text for cue in share} for share in shares] == [
        {"in the first", "longer in the first", "as long in both"},
        {"longer in the second", "across all, longest in the middle"},
        {"behind the end", "of no length"},
    ]


@given(
    edges=st.sets(st.integers(1, 39), max_size=6).map(lambda inner: sorted({0, *inner, 40})),
    cues=st.lists(st.tuples(st.floats(0, 12), st.floats(0, 8)), max_size=8),
)
def test_every_cue_is_in_exactly_the_clip_with_the_longest_overlap(
    edges: list[int], cues: list[tuple[float, float]]
) -> None:
    clips = [Clip(*ends) for ends in pairwise(edges)]
    said = [Cue(start, start + lasts, str(i)) for i, (start, lasts) in enumerate(cues)]
    shares = share_cues(said, clips, fps=FPS)
    assert sorted(cue.text for share in shares for cue in share) == sorted(cue.text for cue in said)
    for clip, share in zip(clips, shares, strict=True):
        for cue in share:
            overlaps = [min(c.end, cue.end_s * FPS) - max(c.first, cue.start_s * FPS) for c in clips]
            assert overlaps[clips.index(clip)] >= max(overlaps) - 1e-4 or max(overlaps) <= 0


def scenes(lengths: list[int]) -> Any:
    """Pictures of some scenes that have nothing in common, each so many frames long."""
    pictures = []
    for scene, length in enumerate(lengths):
        rng = np.random.default_rng(scene)
        shades = rng.integers(0, 160, (4, 6, 3)) + 16 * scene
        picture = shades.clip(0, 255).astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)
        pictures += [picture] * length
    return lambda i: pictures[i]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of three shots with a caption and three cues, one of a single shot, and a book."""
    folder = tmp_path_factory.mktemp("material")
    make_video(folder / "three.mp4", frames=150, picture=scenes([50, 75, 25]))  # 2, 3 and 1 seconds
    (folder / "three.txt").write_text("a caption")
    cues = ("00:00:00,500 --> 00:00:01,000\nsomebody speaks", "00:00:01,900 --> 00:00:04,000\ntwice")
    (folder / "three.srt").write_text("\n\n".join(f"{i}\n{cue}" for i, cue in enumerate(cues)) + "\n")
    make_video(folder / "one.mp4", frames=50)
    (folder / "book.txt").write_text(story(0, 4))
    return folder


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_text_tokenizer([WORDS], tmp_path_factory.mktemp("model") / "m.model", TextTrainConfig(vocab_size=512))


def configured(**options: Any) -> TokenizeConfig:
    return TokenizeConfig(decode=DecodeConfig(fps=FPS), interleave=InterleaveConfig(caption_first=0), **options)


def run(
    inputs: Path, out: Path, text_model: Path, cutting: ClipConfig = SHOTS
) -> tuple[Workspace, dict[str, JobReport]]:
    config = configured(cutting=cutting)
    workspace, runner = Workspace.open(out, units=4), Runner()
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), decode=config.decode)
    reports = [
        survey_items([str(inputs)], workspace, worker, runner),
        select_items(workspace, select_config("frozen_share=:", val_fraction=0.3), runner),
        tokenize_items(workspace, config, text_model, runner),
        pack(workspace, Stage(name="512", context_length=512, config=PackConfig(shard_bytes=4096)), runner),
    ]
    return workspace, {report.job: report for report in reports}


@pytest.fixture(scope="module")
def cut_up(material: Path, text_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Any]:
    return run(material, tmp_path_factory.mktemp("cut") / "out", text_model)


def rows_of(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    rows = [row for row in TokenStore(workspace.tokens).table().to_pylist() if Path(row["uri"]).name == name]
    return sorted(rows, key=lambda row: row["document_id"])


def content(workspace: Workspace, row: dict[str, Any], text: TextTokenizer) -> tuple[NDArray[Any], list[str]]:
    """The codes [T, P] of a document, and its texts."""
    vocabulary = StoreFacts.read(workspace.tokens).vocabulary
    tokens = TokenStore(workspace.tokens).read(row["unit"], row["batch"], row["row"])
    segments = parse_document(tokens, vocabulary=vocabulary, frame_tokens=row["frame_tokens"])
    codes = [segment.codes for segment in segments if isinstance(segment, VisionSegment)]
    return np.concatenate(codes), [text.decode(s.ids) for s in segments if isinstance(s, TextSegment)]


def test_each_shot_is_a_document_and_items_are_counted_once(cut_up: tuple[Workspace, Any]) -> None:
    workspace, reports = cut_up
    report = reports["tokenize"]
    assert (report.items, report.kept, report.rejected, report.facts["documents"]) == (3, 3, {}, 5)
    assert (reports["pack 512"].items, reports["pack 512"].kept) == (5, 5)
    rows = rows_of(workspace, "three.mp4")
    assert [row["document_id"][64:] for row in rows] == ["#00000", "#00001", "#00002"]
    assert [row["clip"] for row in rows] == [{"start": a, "end": b} for a, b in pairwise([0.0, 2.0, 5.0, 6.0])]
    assert [row["shots"] for row in rows] == [[0.0], [2.0], [5.0]]
    assert [row["frames"] for row in rows] == [8, 12, 4] == [row["frames_promised"] for row in rows]
    assert len({row["unit"] for row in rows}) == len({row["split"] for row in rows}) == 1
    (one,), (book,) = rows_of(workspace, "one.mp4"), rows_of(workspace, "book.txt")
    assert (one["document_id"][64:], one["clip"]) == ("#00000", {"start": 0.0, "end": 2.0})
    assert (len(book["document_id"]), book["clip"], book["shots"]) == (64, None, None)


def test_an_empty_store_has_no_items() -> None:
    assert one_of_each_item(TOKENS.empty_table()).num_rows == 0


def test_clips_together_equal_the_whole_video(
    cut_up: tuple[Workspace, Any], material: Path, text_model: Path, tmp_path: Path
) -> None:
    text = TextTokenizer.load(text_model)
    whole, reports = run(material, tmp_path / "out", text_model, ClipConfig())
    assert "documents" not in reports["tokenize"].facts
    (row,) = rows_of(whole, "three.mp4")
    assert (row["clip"], row["shots"]) == (None, [0.0, 2.0, 5.0])
    codes, texts = content(whole, row, text)
    parts = [content(cut_up[0], part, text) for part in rows_of(cut_up[0], "three.mp4")]
    assert np.array_equal(np.concatenate([part for part, _ in parts]), codes)
    assert sorted(texts) == ["a caption", "somebody speaks", "twice"]
    assert [sorted(said) for _, said in parts] == [
        ["a caption", "somebody speaks"],
        ["a caption", "twice"],  # begins in the first shot, and lasts longer in the second
        ["a caption"],
    ]
    # The same workspace, cut otherwise: the videos are made again, and the book is not.
    _, reports = run(material, whole.root, text_model, ClipConfig(clips="seconds", max_clip_s=2.5))
    assert (reports["tokenize"].new, reports["tokenize"].facts["documents"]) == (2, 5)
    assert [row["clip"]["end"] for row in rows_of(whole, "three.mp4")] == [2.0, 4.0, 6.0]


def test_times_in_the_ledger_are_times_of_the_video(cut_up: tuple[Workspace, Any]) -> None:
    workspace, _ = cut_up
    ledger = pq.read_table(workspace.packed("512") / "documents.parquet").to_pylist()
    for row in rows_of(workspace, "three.mp4"):
        spans = [span for span in ledger if span["document_id"] == row["document_id"] and span["modality"] == 1]
        spans.sort(key=lambda span: span["document_start"])
        assert spans[0]["start_s"] == row["clip"]["start"]
        assert spans[-1]["end_s"] == row["clip"]["end"]


def test_a_second_run_does_nothing_and_a_lost_unit_is_computed_again_with_the_same_bytes(
    cut_up: tuple[Workspace, Any], material: Path, text_model: Path
) -> None:
    workspace, _ = cut_up
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in workspace.tokens.glob("unit-*")}
    _, reports = run(material, workspace.root, text_model)
    assert [report.new for report in reports.values()] == [0, 0, 0, 0]
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in workspace.tokens.glob("unit-*")} == before
    (workspace.tokens / f"{unit_name(rows_of(workspace, 'three.mp4')[0]['unit'])}.parquet").unlink()
    _, reports = run(material, workspace.root, text_model)
    assert reports["tokenize"].new >= 1
    assert {p: p.read_bytes() for p in workspace.tokens.glob("unit-*")} == {p: data for p, (data, _) in before.items()}


def test_the_order_of_documents_does_not_depend_on_the_number_of_units() -> None:
    rows = []
    for item in (fingerprint(n) for n in range(12)):
        rows += [video(item, [2]).row() | {"document_id": clip_id(item, number)} for number in range(4)]
    orders = []
    for units in (1, 3, 7):
        by_unit = [[r for r in rows if bucket(item_of(r["document_id"]), units) == unit] for unit in range(units)]
        tables = [documents_of(pa.Table.from_pylist(some, TOKENS)).table for some in by_unit]
        orders.append(pa.concat_tables(tables)["document_id"].to_pylist())
    assert orders[0] == orders[1] == orders[2]
    assert [name[64:] for name in orders[0]] == [f"#0000{number}" for number in range(4)] * 12


def test_forget_removes_a_single_clip_or_an_item_with_all_its_clips(
    material: Path, text_model: Path, tmp_path: Path
) -> None:
    workspace, _ = run(material, tmp_path / "out", text_model)
    dataset, store = workspace.packed("512"), TokenStore(workspace.tokens)
    item = item_of(rows_of(workspace, "three.mp4")[0]["document_id"])
    assert not verify(dataset, store=store).problems

    def documents() -> set[str]:
        return set(pq.read_table(dataset / "documents.parquet", schema=LEDGER)["document_id"].to_pylist())

    before = documents()
    forget(dataset, [f"{item}#00001"])
    assert documents() == before - {f"{item}#00001"}
    assert not verify(dataset, store=store).problems
    # The next clip's forgetting is interrupted; then all of the item is asked for, by the beginning of its id.
    card = read_card(dataset)
    prepare(dataset, card, plan(dataset, card, find_documents(dataset / "documents.parquet", [f"{item}#00002"])))
    (dataset / "dataset.json").unlink()
    forget(dataset, [item[:10]])
    assert documents() == {name for name in before if item_of(name) != item}
    assert not verify(dataset, store=store).problems
    assert read_card(dataset).forgotten == tuple(f"{item}#0000{n}" for n in range(3))
    with pytest.raises(ConfigError, match="made to forget 1 documents"):  # also where it is no longer cut
        run(material, workspace.root, text_model, ClipConfig())


def test_a_prefix_of_two_item_ids_matches_neither() -> None:
    found = [Found(f"{name}{'0' * 54}#0000{n}", "f", None) for name in ("abcdefgh01", "abcdefgh02") for n in range(2)]
    with pytest.raises(ConfigError, match="beginning of 2 documents"):
        choose(["abcdefgh"], found, [])
    with pytest.raises(ConfigError, match="beginning of 2 documents"):
        choose([found[0].document_id[:-1]], found, [])
    assert choose(["abcdefgh01"], found, [])[0] == found[:2]


def test_trace_shows_the_time_range_of_a_clip(
    cut_up: tuple[Workspace, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = cut_up
    dataset = workspace.packed("512")
    row = rows_of(workspace, "three.mp4")[1]
    ledger = pq.read_table(dataset / "documents.parquet").to_pylist()
    span = next(r for r in ledger if r["document_id"] == row["document_id"] and r["modality"] == 1)
    capsys.readouterr()
    Trace(dataset=dataset, key=span["sequence"], token=span["start"])(())
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.strip())
    assert told["clip"] == f"2.00..5.00 s of {row['document_id'][:64]}"
    assert told["time"] == f"{span['start_s']:.2f} s"
    Trace(dataset=dataset, key=span["sequence"])(())
    assert f"{row['document_id'][:12]}#00001" in capsys.readouterr().out


def test_the_picture_of_a_video_shows_its_first_clip(cut_up: tuple[Workspace, Any]) -> None:
    workspace, _ = cut_up
    stored = find_video(workspace, "three")
    assert stored.row["document_id"].endswith("#00000")
    assert len(codes_of(stored, StoreFacts.read(workspace.tokens).vocabulary)) == 8
    second = type(stored)(rows_of(workspace, "three.mp4")[1], stored.tokens)
    config = DecodeConfig(fps=FPS)
    whole = type(stored)(stored.row | {"clip": None}, stored.tokens)
    assert np.array_equal(source_frames(second, config, 3), source_frames(whole, config, 24)[8:11])


def test_bars_that_the_survey_found_are_cropped_unless_disabled(
    material: Path, text_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()

    def barred(i: int) -> NDArray[np.uint8]:
        picture = scenes([60])(i).copy()
        picture[:16] = picture[48:] = 0
        return picture

    make_video(folder / "barred.mp4", frames=50, picture=barred)
    workspace, _ = run(folder, tmp_path / "out", text_model, ClipConfig())
    text = TextTokenizer.load(text_model)
    found = []
    for crop_bars in (True, False, True):
        report = tokenize_items(workspace, configured(crop_bars=crop_bars), text_model, Runner())
        (row,) = rows_of(workspace, "barred.mp4")
        assert (report.new, bool(row["crop"])) == (1 if found else 0, crop_bars)
        found.append((row["fingerprint"], content(workspace, row, text)[0].tobytes()))
    assert found[0] == found[2]
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_a_fingerprint_contains_only_what_the_kind_depends_on(text_model: Path) -> None:
    vocabulary = _vocabulary(text_model)
    row = SurveyRow(uri="a.mp4", document_id="a" * 64, kind="video")
    plain, by_shots = TokenizeConfig(), TokenizeConfig(cutting=SHOTS)
    differ = {
        "cut": (row, by_shots),
        "shots": (row, TokenizeConfig(shots="none")),
        "crop": (replace(row, visual=VisualFacts(crop=Crop(0, 1, 2, 3))), plain),
        "length": (row, TokenizeConfig(cutting=ClipConfig(clips="shots", max_clip_s=9))),
        "plain": (row, plain),
        "image": (replace(row, kind="image"), plain),
    }
    prints = {name: document_fingerprint(of, config, vocabulary) for name, (of, config) in differ.items()}
    assert len(set(prints.values())) == len(differ)
    image = replace(row, kind="image")
    assert document_fingerprint(image, by_shots, vocabulary) == prints["image"]
    without_bars = replace(row, visual=VisualFacts(crop=Crop(0, 0, 64, 48), width=64, height=48))
    assert document_fingerprint(without_bars, plain, vocabulary) == prints["plain"]
    irrelevant = TokenizeConfig(cutting=ClipConfig(min_clip_s=3, max_clip_s=9))
    assert document_fingerprint(row, irrelevant, vocabulary) == prints["plain"]


def _vocabulary(text_model: Path) -> Any:
    return make_vocabulary(TextTokenizer.load(text_model), load_codec("small-128"))
