"""The command `train-tokenizer`: videos through the pipeline's own decoder into the VQGAN's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import is_stopping, stop_on_signals
from pipeline.runtime.progress import console
from pipeline.sources.manifest import read_manifest
from pipeline.tokenizer_jobs.frame_cache import cached_frames
from pipeline.tokenizer_jobs.training_set import beside
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError
from tokenizer.checkpoints import checkpoint
from tokenizer.training import perceptual
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.train import WEIGHTS, train_tokenizer

FLAT = arg(name="")


@dataclass(frozen=True, kw_only=True)
class TrainTokenizer:
    """Train a VQGAN on the frames of videos and images.

    The same command again goes on from the newest snapshot in --out, exactly. What it was trained on is written beside
    the weights, so that `eval-tokenizer` never judges it by the same pictures.
    """

    RECORD: ClassVar = "out"

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
    """Folders of videos and images, single files, or manifests; items of the split `val` are left out."""
    out: Path
    """The folder to write: tokenizer.safetensors, metrics, pictures, snapshots, and the frames that were decoded."""
    initial: Path | None = None
    """A checkpoint to begin at."""
    max_frames: int = 100_000
    """Frames to keep on disk; of more, as many are drawn at random."""
    train: Annotated[TokenizerTrainConfig, FLAT] = field(default_factory=TokenizerTrainConfig)
    decode: DecodeConfig = field(default_factory=lambda: DecodeConfig(size=160))

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        if self.max_frames < 1:
            raise ConfigError(f"max_frames must be at least 1, got {self.max_frames}")
        if self.decode.size < self.train.crop.size:
            raise ConfigError(
                f"crop.size is {self.train.crop.size} pixels, but decode.size only {self.decode.size}: "
                "decode larger frames, or cut smaller crops"
            )

    def __call__(self, options: tuple[str, ...]) -> None:
        """Train, printing a line at each measurement."""
        items = read_manifest(self.inputs).items
        uris = [item.uri for item in items if not kind_of(item.kind).is_text and item.split != "val"]
        if not uris:
            raise ConfigError(f"no video or image to train on in {', '.join(self.inputs)}")
        if self.out.is_file() or self.out.suffix == ".safetensors":
            raise ConfigError(f"--out must be a folder, got {self.out}: the weights will be {WEIGHTS} in it")
        self._require_files()
        _say(f"{len(uris)} videos and images, {self.train.steps} steps, {_critic(self.train)}")
        with stop_on_signals():
            with Decoder(self.decode) as decoder:
                frames = cached_frames(
                    uris,
                    decoder,
                    self.out,
                    limit=self.max_frames,
                    seed=self.train.seed,
                    trained_on=beside(self.out / WEIGHTS),
                    say=_say,
                )
            path = train_tokenizer(self.train, frames, out=self.out, initial=self.initial, is_stopping=is_stopping)
        _say(str(path))

    def _require_files(self) -> None:
        """Raise ConfigError where a file that is needed after decoding does not fit: hours could lie between."""
        if self.initial is not None:
            checkpoint.load(self.initial, self.train.model)
        if self.train.perceptual is not None:
            perceptual.load(self.train.perceptual)


def _critic(train: TokenizerTrainConfig) -> str:
    """Say when the discriminator sets in: one that never does is easily taken for one that did nothing."""
    if train.discriminator.weight == 0:
        return "no discriminator"
    start = train.discriminator.start
    if start < train.steps:
        return f"a discriminator from step {start:,} on"
    return f"no discriminator (--discriminator.start is {start:,}; give one below {train.steps:,} to have it)"


def _say(line: str) -> None:
    console.print(f"train-tokenizer: {line}")
