"""The stages from survey to pack on real files, in this process, with tokenizers that are small enough for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.config import DedupConfig
from pipeline.dedup.job import dedup_items
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage, pack
from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.token_store import StoreFacts, TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.quarantine import write_quarantine
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.tokenize.clips import ClipConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.interleave import InterleaveConfig, TextSegment, VisionSegment, parse_document
from pipeline.tokenize.job import tokenize_items
from pipeline.video.decoder import DecodeConfig
from schemas.storage.location import Location
from tests.support.inputs.media import make_video
from tests.support.survey_rows import select_config
from tests.support.texts import story
from tests.support.vqgan.tiny_vqgan import TINY, tiny_weights_of_varied_codes
from tokenizer.checkpoints import checkpoint
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

FPS = 4
CLOCKS = "It was a bright cold day, and the clocks were striking thirteen. {}\n"
Reports = dict[str, JobReport]  # by job


@dataclass(frozen=True)
class Models:
    """Paths of a text model and of the weights of a tiny VQGAN."""

    text: Path
    vision: str

    def config(self, *, fps: int = FPS, **options: Any) -> TokenizeConfig:
        """Return a configuration that tokenizes with the tiny VQGAN."""
        decode = DecodeConfig(fps=fps, size=TINY.frame_size)
        return TokenizeConfig(vision=self.vision, decode=decode, **options)

    def clip_config(self, cutting: ClipConfig | None = None, **options: Any) -> TokenizeConfig:
        """Return a configuration that makes a document of each shot and places its caption last."""
        cutting = cutting or ClipConfig(clips="shots")
        return self.config(interleave=InterleaveConfig(caption_first=0), cutting=cutting, **options)


def save_models(folder: Path) -> Models:
    """Train a text model, and save a VQGAN with random weights."""
    sentences = ["a caption somebody speaks twice and once more\n", CLOCKS]
    text = train_text_tokenizer(sentences, folder / "text.model", TextTrainConfig(vocab_size=512))
    vision = folder / "tiny.safetensors"
    checkpoint.save(vision, tiny_weights_of_varied_codes())
    return Models(text, str(vision))


def run_stages(
    inputs: Location | Path,
    out: Location | Path,
    text_tokenizer: Location | Path,
    config: TokenizeConfig,
    *,
    workers: int = 1,
    runner: Runner | None = None,
) -> Reports:
    """Run survey, dedup, select, tokenize and pack, and write the quarantine table."""
    workspace, runner = Workspace.open(out, units=4), runner or Runner(workers)
    reports = [
        _survey(inputs, workspace, config, runner),
        dedup_items(workspace, DedupConfig(), runner),
        select_items(workspace, SelectConfig(val_fraction=0.3), runner),
        *_tokenize_and_pack(workspace, text_tokenizer, config, runner),
    ]
    write_quarantine(workspace)
    return {report.job: report for report in reports}


def run_on_clips(
    inputs: Path, out: Path, models: Models, cutting: ClipConfig | None = None
) -> tuple[Workspace, Reports]:
    """Run survey, select, tokenize and pack on videos of still scenes; each shot is a document by default."""
    config = models.clip_config(cutting)
    workspace, runner = Workspace.open(out, units=4), Runner()
    reports = [
        _survey(inputs, workspace, config, runner),
        select_items(workspace, select_config("frozen_share=:", val_fraction=0.3), runner),
        *_tokenize_and_pack(workspace, models.text, config, runner),
    ]
    return workspace, {report.job: report for report in reports}


def _survey(inputs: Location | Path, workspace: Workspace, config: TokenizeConfig, runner: Runner) -> JobReport:
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), decode=config.decode)
    return survey_items([str(inputs)], workspace, worker, runner)


def _tokenize_and_pack(
    workspace: Workspace, text_tokenizer: Location | Path, config: TokenizeConfig, runner: Runner
) -> tuple[JobReport, JobReport]:
    stage = Stage(name="512", context_length=512, config=PackConfig(shard_bytes=4096))
    return tokenize_items(workspace, config, text_tokenizer, runner), pack(workspace, stage, runner)


def made_bytes(out: Path, folders: Sequence[str] = ("tokens", "packed/512")) -> dict[str, bytes]:
    """Return the bytes of every file in folders of a workspace: by default of the token store and the dataset."""
    files = [path for folder in folders for path in (out / folder).rglob("*") if path.is_file()]
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(files)}


def rows_of(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    """Return the rows of the documents that were made from the file `name`, in order."""
    rows = [row for row in TokenStore(workspace.tokens).table().to_pylist() if Path(row["uri"]).name == name]
    return sorted(rows, key=lambda row: row["document_id"])


def content(workspace: Workspace, row: dict[str, Any], text: TextTokenizer) -> tuple[NDArray[Any], list[str]]:
    """Return the codes [T, P] of a document, and its texts."""
    vocabulary = StoreFacts.read(workspace.tokens).vocabulary
    tokens = TokenStore(workspace.tokens).read(row["unit"], row["batch"], row["row"])
    segments = parse_document(tokens, vocabulary=vocabulary, frame_tokens=row["frame_tokens"])
    codes = [segment.codes for segment in segments if isinstance(segment, VisionSegment)]
    return np.concatenate(codes), [text.decode(s.ids) for s in segments if isinstance(s, TextSegment)]


def write_shots(folder: Path) -> Path:
    """Write a video of three shots with a caption and three cues, one of a single shot, and a book."""
    make_video(folder / "three.mp4", frames=150, picture=still_scenes([50, 75, 25]))  # 2, 3 and 1 seconds
    (folder / "three.txt").write_text("a caption")
    cues = (
        "00:00:00,500 --> 00:00:01,000\nsomebody speaks",
        "00:00:01,900 --> 00:00:04,000\ntwice",
        "00:00:06,000 --> 00:00:07,000\nafter the video",
    )
    (folder / "three.srt").write_text("\n\n".join(f"{i}\n{cue}" for i, cue in enumerate(cues)) + "\n")
    make_video(folder / "one.mp4", frames=50)
    (folder / "book.txt").write_text(story(0, 4))
    return folder


def still_scenes(lengths: list[int]) -> Any:
    """Return a function that draws scenes which have nothing in common, each with the given number of equal frames."""
    pictures = []
    for scene, length in enumerate(lengths):
        rng = np.random.default_rng(scene)
        shades = rng.integers(0, 160, (4, 6, 3)) + 16 * scene
        picture = shades.clip(0, 255).astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)
        pictures += [picture] * length
    return lambda i: pictures[i]


def write_books(folder: Path, count: int = 3) -> Path:
    """Write `count` books to `folder`, which is created."""
    folder.mkdir(exist_ok=True)
    for n in range(count):
        (folder / f"{n}.txt").write_text(story(n, 4))
    return folder


def drifting_patches(seed: int) -> Callable[[int], NDArray[np.uint8]]:
    """Return a function that draws the frames of a unique scene: drifting patches of color."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return lambda i: np.roll(np.kron(patches, np.ones((8, 8, 1), np.uint8)), i, axis=1)
