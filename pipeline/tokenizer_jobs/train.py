"""The command `train-tokenizer`: trains a VQGAN on frames decoded by the pipeline's decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import is_stopping, stop_on_signals
from pipeline.sources.access import AccessConfig
from pipeline.sources.links import with_given
from pipeline.sources.manifest import read_valid_items
from pipeline.tokenizer_jobs.frame_cache import cached_frames
from pipeline.tokenizer_jobs.training_set import training_table
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.counted import counted
from schemas.errors import ConfigError
from schemas.runs.folder_lock import locked_folder
from schemas.runs.messages import messages
from schemas.storage.option import NewFolder
from tokenizer.checkpoints import checkpoint
from tokenizer.training import perceptual
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.train import WEIGHTS, train_tokenizer

FLAT = arg(name="")


@dataclass(frozen=True, kw_only=True)
class TrainTokenizer:
    """Train a VQGAN on the frames of videos and images.

    The same command resumes exactly from the newest snapshot in --out. The training set is recorded next to the
    weights, so that `eval-tokenizer` excludes it.
    """

    RECORD: ClassVar = "out"

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
    """Folders of videos and images, single files, or manifests; items of the split `val` are excluded."""
    out: NewFolder
    """Output folder: tokenizer.safetensors, metrics, pictures, snapshots, and the decoded frames."""
    initial: Path | None = None
    """Checkpoint to start from."""
    max_frames: int = 100_000
    """Maximum number of frames to keep on disk; a larger training set is sampled at random."""
    access: Annotated[AccessConfig, FLAT] = field(default_factory=AccessConfig)
    train: Annotated[TokenizerTrainConfig, FLAT] = field(default_factory=TokenizerTrainConfig)
    decode: DecodeConfig = field(default_factory=lambda: DecodeConfig(size=160))

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        if self.max_frames < 1:
            raise ConfigError(f"max_frames must be at least 1, got {self.max_frames}")
        if self.decode.size < self.train.crop.size:
            raise ConfigError(
                f"crop.size is {self.train.crop.size} pixels, but decode.size is {self.decode.size}: "
                "give a larger --decode.size or a smaller --crop.size"
            )

    def __call__(self, options: tuple[str, ...]) -> None:
        """Decode the frames, then train."""
        access = with_given(self.access, self.inputs)
        items = read_valid_items(self.inputs, _log, access)
        uris = [item.uri for item in items if not kind_of(item.kind).is_text and item.split != "val"]
        if not uris:
            raise ConfigError(f"no video or image to train on in {', '.join(self.inputs)}")
        if self.out.is_file() or self.out.suffix == ".safetensors":
            raise ConfigError(f"--out must be a folder, got {self.out}: the weights are written to {WEIGHTS} in it")
        self._require_files()
        given = counted(len(uris), "video or image", "videos and images")
        _log(f"{given}, {counted(self.train.steps, 'step')}, {_critic(self.train)}")
        with stop_on_signals(), locked_folder(self.out):
            with Decoder(self.decode) as decoder:
                frames = cached_frames(
                    uris,
                    decoder,
                    self.out,
                    access=access,
                    limit=self.max_frames,
                    seed=self.train.seed,
                    trained_on=training_table(self.out / WEIGHTS),
                    log=_log,
                )
            path = train_tokenizer(self.train, frames, out=self.out, initial=self.initial, is_stopping=is_stopping)
        _log(str(path))

    def _require_files(self) -> None:
        """Raise ConfigError early if a file that is needed after decoding does not fit: decoding can take hours."""
        if self.initial is not None:
            checkpoint.load(self.initial, self.train.model)
        if self.train.perceptual is not None:
            perceptual.load(self.train.perceptual)


def _critic(train: TokenizerTrainConfig) -> str:
    """Describe when the discriminator starts, or why it does not."""
    if train.discriminator.weight == 0:
        return "no discriminator"
    start = train.discriminator.start
    if start < train.steps:
        return f"discriminator from step {start:,} on"
    return f"no discriminator (--discriminator.start is {start:,}; give a value below {train.steps:,} to enable it)"


def _log(line: str) -> None:
    messages.info(f"train-tokenizer: {line}")
