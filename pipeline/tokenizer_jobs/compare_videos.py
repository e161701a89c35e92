"""The command `eval videos`: how far generated videos are from real ones, next to what the tokenizer alone loses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from pipeline.runtime.interrupt import raise_if_stopping, stop_on_signals
from pipeline.runtime.progress import output
from pipeline.sources.access import AccessConfig
from pipeline.sources.links import with_given
from pipeline.tokenizer_jobs.held_out import HeldOut
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError, InputError, Reason, storage_errors
from schemas.files import write_text
from schemas.runs.messages import messages
from schemas.storage.option import NewFolder
from tokenizer.codec import FrameCodec
from tokenizer.evaluation.clip_features import FEWEST_FRAMES, clip_features
from tokenizer.evaluation.evaluate import Estimate, jackknife, psnr, ssim
from tokenizer.evaluation.frechet import frechet_distance
from tokenizer.evaluation.scorecard import distance_table

_FEWEST = {"generated": 3, "real": 6}  # videos: also without one of them, each half has two
_COMMAND = "eval videos"

Video = Mapping[str, NDArray[np.float64]]  # features of the clips of a video by set: [clips, dims]


@dataclass(frozen=True)
class _Real:
    clips: Video
    reconstructed: Video
    psnr: float  # dB
    ssim: float


@dataclass(frozen=True, kw_only=True)
class EvalVideos:
    """Measure how far generated videos are from real ones: Fréchet distances of colors, motion, and the tokenizer's
    latents, next to the distance that the tokenizer alone causes. Real videos of its training set are excluded."""

    RECORD: ClassVar = "out"

    generated: Annotated[Positional[tuple[str, ...]], arg(metavar="GENERATED ...")]
    """Folders of generated videos, single files, or manifests."""
    real: tuple[str, ...]
    """Folders of held-out real videos, single files, or manifests; items of the split `train` are excluded."""
    out: NewFolder
    """Output folder for distances.json and distances.md."""
    vision: str = "small-128"
    """Name of a shipped tokenizer, or a weights file: the one that the generated videos were decoded with."""
    frames: int = 16
    """Frames of a clip; a video with fewer is excluded."""
    clips: int = 8
    """Maximum number of clips of each video, spread over its length."""
    fps: float = 4.0
    """Frames sampled per second of video."""
    access: Annotated[AccessConfig, arg(name="")] = field(default_factory=AccessConfig)
    time_limit_s: float = 1800.0
    """Time limit for decoding one video, in seconds."""

    def __post_init__(self) -> None:
        if self.frames < FEWEST_FRAMES or self.clips < 1:
            raise ConfigError(
                f"frames must be at least {FEWEST_FRAMES} and clips at least 1, got {self.frames} and {self.clips}"
            )

    def __call__(self, options: tuple[str, ...]) -> None:
        """Measure, and print the table."""
        codec = FrameCodec.load(self.vision)
        inputs = [
            HeldOut(given, with_given(self.access, given), vision=vision, command=_COMMAND)
            for given, vision in ((self.generated, None), (self.real, self.vision))
        ]
        decode = DecodeConfig(size=codec.frame_size, fps=self.fps, batch=self.frames, time_limit_s=self.time_limit_s)
        with stop_on_signals(), Decoder(decode) as decoder:
            made = inputs[0].measured(decoder, lambda path: _features(self._clips(decoder, path), codec))
            real = inputs[1].measured(decoder, lambda path: _measured(self._clips(decoder, path), codec))
        self._write([*made.values()], [*real.values()], inputs[0].excluded | inputs[1].excluded, codec)

    def _clips(self, decoder: Decoder, path: Path) -> list[NDArray[np.uint8]]:
        """Return the clips of a video; raises InputError if it is too short."""
        whole = int(decoder.probe(path).duration_s * self.fps) // self.frames
        step = math.ceil(max(1, whole) / self.clips)
        found: list[NDArray[np.uint8]] = []
        for number, (frames, _) in enumerate(decoder.frames(path)):
            raise_if_stopping()
            if number % step == 0 and len(frames) == self.frames and len(found) < self.clips:
                found.append(frames.copy())
        if not found:
            raise InputError(Reason.EMPTY, f"it has fewer than {self.frames} frames at {self.fps:g} per second")
        return found

    def _write(
        self, generated: Sequence[Video], real: Sequence[_Real], excluded: Mapping[str, str], codec: FrameCodec
    ) -> None:
        counts = {"generated": len(generated), "real": len(real)}
        if any(counts[name] < fewest for name, fewest in _FEWEST.items()):
            raise ConfigError(
                f"distances need at least {_FEWEST['generated']} generated and {_FEWEST['real']} real videos, got "
                f"{counts['generated']} and {counts['real']}"
            )
        rows = distances(generated, [video.clips for video in real], [video.reconstructed for video in real])
        loss = {name: jackknife(real, _mean(name)) for name in ("psnr", "ssim")}
        dims = {name: value.shape[1] for name, value in real[0].clips.items()}
        facts: dict[str, Any] = {"tokenizer": self.vision, "sha256": codec.sha256, "fps": self.fps} | {
            "frames": self.frames, "videos": counts, "clips": {"generated": _count(generated), "real": _count(
                [video.clips for video in real])}, "dims": dims,
        }  # fmt: skip
        table = distance_table(rows, loss, facts)
        record = {**facts, "distances": _plain(rows), "reconstruction": _plain({"real": loss})["real"]}
        with storage_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(self.out / "distances.json", json.dumps({**record, "excluded": excluded}, indent=1) + "\n")
            write_text(self.out / "distances.md", table)
        output().print(table, markup=False, highlight=False)
        messages.info(f"{_COMMAND}: {self.out}: {len(generated)} generated, {len(real)} real, {len(excluded)} excluded")


def distances(
    generated: Sequence[Video], real: Sequence[Video], reconstructed: Sequence[Video]
) -> dict[str, dict[str, Estimate]]:
    """Return the distance of each set to a half of the real videos, the mean over both halves, by set and feature.

    Of `real` and `reconstructed`, the other half is compared. Intervals are those of a jackknife over videos.
    """
    numbered = [("generated", n) for n in range(len(generated))] + [("real", n) for n in range(len(real))]

    def measure(name: str, subject: str, chosen: Sequence[tuple[str, int]]) -> float:
        halves = [[n for which, n in chosen if which == "real" and n % 2 == half] for half in (0, 1)]
        compared: list[list[NDArray[np.float64]]]
        if subject == "generated":
            compared = [[generated[n][name] for which, n in chosen if which == "generated"]] * 2
        else:
            source = real if subject == "real" else reconstructed
            compared = [[source[n][name] for n in half] for half in halves]
        references = [[real[n][name] for n in half] for half in reversed(halves)]
        pairs = zip(compared, references, strict=True)
        return float(np.mean([frechet_distance(np.concatenate(a), np.concatenate(b)) for a, b in pairs]))

    return {
        subject: {name: jackknife(numbered, partial(measure, name, subject), (0, math.inf)) for name in real[0]}
        for subject in ("generated", "reconstructed", "real")
    }


def _features(clips: Sequence[NDArray[np.uint8]], codec: FrameCodec) -> Video:
    found = [clip_features(clip, codec) for clip in clips]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def _measured(clips: Sequence[NDArray[np.uint8]], codec: FrameCodec) -> _Real:
    seen = [codec.decode(codec.encode(clip)) for clip in clips]
    quality = [float(np.mean([measure(a, b) for a, b in zip(clips, seen, strict=True)])) for measure in (psnr, ssim)]
    return _Real(_features(clips, codec), _features(seen, codec), *quality)


def _mean(name: str) -> Callable[[Sequence[_Real]], float]:
    return lambda videos: float(np.mean([getattr(video, name) for video in videos]))


def _count(videos: Sequence[Video]) -> int:
    return sum(len(next(iter(video.values()))) for video in videos)


def _plain(rows: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {name: {key: asdict(value) for key, value in row.items()} for name, row in rows.items()}
