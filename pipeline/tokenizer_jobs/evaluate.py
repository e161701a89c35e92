"""The command `eval-tokenizer`: quality of a tokenizer on held-out videos, next to JPEG and WebP."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from pipeline.runtime.interrupt import raise_if_stopping, stop_on_signals
from pipeline.runtime.progress import output
from pipeline.sources.access import AccessConfig
from pipeline.sources.links import with_given
from pipeline.tokenizer_jobs.held_out import HeldOut
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError, storage_errors
from schemas.files import atomic, write_text
from schemas.runs.messages import messages
from schemas.storage.option import NewFolder
from tokenizer.codec import FrameCodec
from tokenizer.evaluation.evaluate import Clip, Distance, Evaluation, measure, reconstruct, runs_of, summarize
from tokenizer.evaluation.image_codecs import BASELINES
from tokenizer.evaluation.scorecard import FRAMES, grid, markdown
from tokenizer.training import perceptual
from tokenizer.vqgan.vqgan import to_unit


@dataclass(frozen=True, kw_only=True)
class EvalTokenizer:
    """Measure the reconstruction quality of a tokenizer on videos and images: PSNR, SSIM, flicker and codebook
    utilization with confidence intervals, next to JPEG and WebP at the same size. Items of the training set, and items
    that share frames with it, are excluded."""

    RECORD: ClassVar = "out"

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
    """Folders of videos and images, single files, or manifests; items of the split `train` are excluded."""
    out: NewFolder
    """Output folder for evaluation.json, evaluation.md and pictures.png."""
    vision: str = "small-128"
    """Name of a shipped tokenizer, or a weights file."""
    max_frames: int = 240
    """Maximum number of frames per video, sampled as runs of consecutive frames spread over its length."""
    perceptual: Path | None = None
    """Weights from `longreel perceptual`; adds the distance in the features of a VGG-16 to the measures."""
    baselines: tuple[str, ...] = tuple(BASELINES)
    """Image codecs to compare with at equal bytes."""
    access: Annotated[AccessConfig, arg(name="")] = field(default_factory=AccessConfig)
    time_limit_s: float = 1800.0
    """Time limit for decoding one video, in seconds."""
    fps: float = 4.0
    """Frames sampled per second of video."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Evaluate, and print the table."""
        if self.max_frames < 1:
            raise ConfigError(f"max-frames must be at least 1, got {self.max_frames}")
        if unknown := sorted(set(self.baselines) - set(BASELINES)):
            raise ConfigError(f"baselines must be among {', '.join(BASELINES)}, got {', '.join(unknown)}")
        codec = FrameCodec.load(self.vision)
        distance = self._distance(codec)
        given = HeldOut(self.inputs, with_given(self.access, self.inputs), vision=self.vision, command="eval-tokenizer")
        decode = DecodeConfig(size=codec.frame_size, fps=self.fps, batch=_RUN, time_limit_s=self.time_limit_s)
        with stop_on_signals(), Decoder(decode) as decoder:
            found = given.measured(decoder, lambda path: self._video(codec, decoder, path, distance))
        self._write(codec, found, given.excluded, trained_on=given.training_set_known)

    def _distance(self, codec: FrameCodec) -> Distance | None:
        """Return the perceptual distance, or None if no weights are given."""
        if self.perceptual is None:
            return None
        vgg = perceptual.load(self.perceptual)
        if codec.frame_size < perceptual.MIN_SIZE:
            raise ConfigError(
                f"frame_size must be at least {perceptual.MIN_SIZE} for the five blocks of VGG, got {codec.frame_size}"
            )
        run = jax.jit(lambda a, b: perceptual.distances(vgg, to_unit(a), to_unit(b)))
        return lambda frames, reconstructed: np.asarray(run(reconstructed, frames), np.float64)

    def _video(self, codec: FrameCodec, decoder: Decoder, path: Path, distance: Distance | None) -> _Video:
        """Measure the frames of one video in batches."""
        batches = math.ceil(max(1.0, decoder.probe(path).duration_s * self.fps) / decoder.config.batch)
        step = math.ceil(batches * decoder.config.batch / self.max_frames)
        clips: list[Clip] = []
        pictures: list[dict[str, NDArray[np.uint8]]] = []
        for number, (frames, _) in enumerate(decoder.frames(path)):
            raise_if_stopping()
            if number % step == 0 and len(clips) * decoder.config.batch < self.max_frames:
                taken = frames[: self.max_frames]
                reconstructed = reconstruct(codec, taken, baselines=self.baselines)
                clips.append(measure(taken, reconstructed, distance=distance))
                # Copies, as views would keep all frames in memory.
                pictures.append({name: row[0].copy() for name, row in ({FRAMES: taken} | reconstructed.frames).items()})
        score = summarize(runs_of(clips), codebook_size=codec.codebook_size)
        chosen = [pictures[i] for i in sorted({round(x) for x in np.linspace(0, len(pictures) - 1, _SHOWN)})]
        return _Video(score, clips, {name: np.stack([shown[name] for shown in chosen]) for name in chosen[0]})

    def _write(
        self, codec: FrameCodec, found: dict[str, _Video], excluded: dict[str, str], *, trained_on: bool
    ) -> None:
        whole = summarize([video.clips for video in found.values()], codebook_size=codec.codebook_size)
        bits = codec.config.bits(codec.frame_size, codec.frame_size)
        names = _names(found)
        rows = {names[uri]: video.score for uri, video in found.items()} | {"all": whole}
        facts: dict[str, Any] = {
            "tokenizer": self.vision, "sha256": codec.sha256, "fps": self.fps,
            "bits_per_pixel": bits / codec.frame_size**2, "bytes_per_frame": math.floor(bits / 8),
            "training_set_known": trained_on,
        }  # fmt: skip
        table = markdown(rows, facts)
        with storage_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            videos = {uri: asdict(video.score) for uri, video in found.items()}
            record = {**facts, "all": asdict(whole), "videos": videos, "excluded": excluded}
            write_text(self.out / "evaluation.json", json.dumps(record, indent=1) + "\n")
            write_text(self.out / "evaluation.md", table)
            with atomic(self.out / "pictures.png") as temporary:
                page = grid({names[uri]: video.pictures for uri, video in found.items()}, size=codec.frame_size)
                page.save(temporary, "PNG")
        output().print(table, markup=False, highlight=False)
        messages.info(f"eval-tokenizer: {self.out}: {len(found)} evaluated, {len(excluded)} excluded")


_RUN = 8  # consecutive frames that are measured together
_SHOWN = 4  # frames of each video in pictures.png


@dataclass(frozen=True)
class _Video:
    score: Evaluation
    clips: list[Clip] = field(repr=False)
    pictures: dict[str, NDArray[np.uint8]] = field(repr=False)  # FRAMES, and by codec: [m, H, W, 3]


def _names(uris: Iterable[str]) -> dict[str, str]:
    """Return the label of each item in the table: its file name, or the URI if file names are equal."""
    names = {uri: Path(uri).name for uri in uris}
    count = Counter(names.values())
    return {uri: name if count[name] == 1 and name != "all" else uri for uri, name in names.items()}
