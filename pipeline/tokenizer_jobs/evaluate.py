"""The command `eval-tokenizer`: what a tokenizer makes of videos that it was not trained on, beside JPEG and WebP."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import raise_if_stopping, stop_on_signals
from pipeline.runtime.progress import console, output
from pipeline.sources.inputs import local_file
from pipeline.sources.manifest import read_manifest
from pipeline.tokenizer_jobs.training_set import TrainedOn, beside, read_trained_on, signature_of
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError, InputError, storage_errors
from schemas.files import atomic, write_text
from tokenizer.codec import FrameCodec, weights_file
from tokenizer.evaluation.evaluate import Clip, Distance, Evaluation, measure, rebuild, runs_of, summarize
from tokenizer.evaluation.image_codecs import RIVALS
from tokenizer.evaluation.scorecard import FRAMES, grid, markdown
from tokenizer.training import perceptual
from tokenizer.vqgan.vqgan import to_unit


@dataclass(frozen=True, kw_only=True)
class EvalTokenizer:
    """Encode and decode the frames of videos and images, and write what came back: PSNR, SSIM, flicker, use of the
    codebook, each with its interval, beside JPEG and WebP of the same size. Items that the tokenizer was trained on, or
    that share frames with them, are left out."""

    RECORD: ClassVar = "out"

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
    """Folders of videos and images, single files, or manifests; of those that name a split, items of `train` are left
    out."""
    out: Path
    """A folder: evaluation.json, evaluation.md and pictures.png are written there."""
    vision: str = "small-128"
    """A shipped tokenizer's name, or a file of weights."""
    max_frames: int = 240
    """Of each video, in runs of neighbors that are spread over its length."""
    perceptual: Path | None = None
    """Weights from `longreel perceptual`: the distance in the features of a VGG-16 is measured, too."""
    rivals: tuple[str, ...] = tuple(RIVALS)
    """What to compare with at equal bytes."""
    time_limit_s: float = 1800.0
    """For one video: seconds that are spent waiting for the decoder."""
    fps: float = 4.0
    """Frames a second that are taken."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Evaluate, and print the table."""
        if self.max_frames < 1:
            raise ConfigError(f"max-frames must be at least 1, got {self.max_frames}")
        if strange := sorted(set(self.rivals) - set(RIVALS)):
            raise ConfigError(f"rivals must be among {', '.join(RIVALS)}, got {', '.join(strange)}")
        codec = FrameCodec.load(self.vision)
        distance = self._distance(codec)
        uris = _held_out(self.inputs)
        table = beside(weights_file(self.vision))
        known = read_trained_on(table) if table.is_file() else None
        if known is None:
            console.print(
                f"eval-tokenizer: no {table.name} beside the weights: nobody can say what they were trained on"
            )
        decode = DecodeConfig(size=codec.frame_size, fps=self.fps, batch=_RUN, time_limit_s=self.time_limit_s)
        with stop_on_signals(), Decoder(decode) as decoder:
            found, left_out = self._evaluate(uris, codec, decoder, TrainedOn(known or ()), distance)
        if not found:
            raise ConfigError(f"nothing to evaluate on: all of {len(uris)} items were left out")
        self._write(codec, found, left_out, trained_on=known is not None)

    def _distance(self, codec: FrameCodec) -> Distance | None:
        """Return the perceptual distance, where it is wanted."""
        if self.perceptual is None:
            return None
        vgg = perceptual.load(self.perceptual)
        if codec.frame_size < perceptual.MIN_SIZE:
            raise ConfigError(
                f"frames must be {perceptual.MIN_SIZE} pixels for VGG's five blocks, got {codec.frame_size}"
            )
        run = jax.jit(lambda a, b: perceptual.distances(vgg, to_unit(a), to_unit(b)))
        return lambda frames, rebuilt: np.asarray(run(rebuilt, frames), np.float64)

    def _evaluate(
        self,
        uris: Sequence[str],
        codec: FrameCodec,
        decoder: Decoder,
        trained_on: TrainedOn,
        distance: Distance | None,
    ) -> tuple[dict[str, _Video], dict[str, str]]:
        found: dict[str, _Video] = {}
        left_out: dict[str, str] = {}
        for uri in uris:
            raise_if_stopping()
            try:
                with local_file(uri) as path:
                    if shared := trained_on.shared(signature_of(decoder, path)):
                        left_out[uri] = shared
                    else:
                        found[uri] = self._video(codec, decoder, path, distance)
            except InputError as e:
                left_out[uri] = str(e)
            told = f"left out: {left_out[uri]}" if uri in left_out else f"{found[uri].score.frames} frames"
            console.print(f"eval-tokenizer: {uri}: {told}")
        return found, left_out

    def _video(self, codec: FrameCodec, decoder: Decoder, path: Path, distance: Distance | None) -> _Video:
        """Measure the frames of one video, batch by batch."""
        batches = math.ceil(max(1.0, decoder.probe(path).duration_s * self.fps) / decoder.config.batch)
        step = math.ceil(batches * decoder.config.batch / self.max_frames)
        clips: list[Clip] = []
        pictures: list[dict[str, NDArray[np.uint8]]] = []
        for number, (frames, _) in enumerate(decoder.frames(path)):
            raise_if_stopping()
            if number % step == 0 and len(clips) * decoder.config.batch < self.max_frames:
                taken = frames[: self.max_frames]
                rebuilt = rebuild(codec, taken, rivals=self.rivals)
                clips.append(measure(taken, rebuilt, distance=distance))
                # Copies, or all frames would be held.
                pictures.append({name: row[0].copy() for name, row in ({FRAMES: taken} | rebuilt.frames).items()})
        score = summarize(runs_of(clips), codebook_size=codec.codebook_size)
        chosen = [pictures[i] for i in sorted({round(x) for x in np.linspace(0, len(pictures) - 1, _SHOWN)})]
        return _Video(score, clips, {name: np.stack([shown[name] for shown in chosen]) for name in chosen[0]})

    def _write(
        self, codec: FrameCodec, found: dict[str, _Video], left_out: dict[str, str], *, trained_on: bool
    ) -> None:
        whole = summarize([video.clips for video in found.values()], codebook_size=codec.codebook_size)
        bits = codec.config.bits(codec.frame_size, codec.frame_size)
        names = _names(found)
        rows = {names[uri]: video.score for uri, video in found.items()} | {"all": whole}
        facts: dict[str, Any] = {
            "tokenizer": self.vision, "sha256": codec.sha256, "fps": self.fps,
            "bits_per_pixel": bits / codec.frame_size**2, "bytes_per_frame": math.floor(bits / 8),
            "knows_what_it_was_trained_on": trained_on,
        }  # fmt: skip
        told = markdown(rows, facts)
        with storage_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            videos = {uri: asdict(video.score) for uri, video in found.items()}
            record = {**facts, "all": asdict(whole), "videos": videos, "left_out": left_out}
            write_text(self.out / "evaluation.json", json.dumps(record, indent=1) + "\n")
            write_text(self.out / "evaluation.md", told)
            with atomic(self.out / "pictures.png") as temporary:
                page = grid({names[uri]: video.pictures for uri, video in found.items()}, size=codec.frame_size)
                page.save(temporary, "PNG")
        output().print(told, markup=False, highlight=False)
        console.print(f"eval-tokenizer: {self.out}: {len(found)} evaluated, {len(left_out)} left out")


_RUN = 8  # neighboring frames that are measured together
_SHOWN = 4  # frames of each video in the grid of pictures


@dataclass(frozen=True)
class _Video:
    score: Evaluation
    clips: list[Clip] = field(repr=False)
    pictures: dict[str, NDArray[np.uint8]] = field(repr=False)  # FRAMES, and by codec: [m, H, W, 3]


def _names(uris: Iterable[str]) -> dict[str, str]:
    """Return what each is called in the table: its file's name, or all of the URI where two are named alike."""
    names = {uri: Path(uri).name for uri in uris}
    count = Counter(names.values())
    return {uri: name if count[name] == 1 and name != "all" else uri for uri, name in names.items()}


def _held_out(inputs: Iterable[str]) -> list[str]:
    items = read_manifest(inputs).items
    uris = [item.uri for item in items if not kind_of(item.kind).is_text and item.split != "train"]
    if not uris:
        raise ConfigError(
            f"no video or image to evaluate on in {', '.join(inputs)}; those of the split train are left out"
        )
    return uris
