"""The options of one training run of a frame tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from schemas.errors import ConfigError
from tokenizer.config import Compute, VqganConfig, named
from tokenizer.quantizers.base import Quantizer
from tokenizer.quantizers.registry import Kind, Quantizers
from tokenizer.training import losses, perceptual
from tokenizer.training.crops import CropConfig
from tokenizer.training.discriminator import DiscriminatorConfig
from tokenizer.training.losses import LossConfig


@dataclass(frozen=True, kw_only=True)
class TokenizerTrainConfig:
    """One training run of a frame tokenizer."""

    config: str = "small-128"  # the shape of the model: a name of tokenizer/config.py, small-128 or lwm-256
    steps: int = 6000  # updates in all
    batch: int = 16  # crops a step
    learning_rate: float = 8e-4  # the peak; linear warmup, then cosine to a hundredth
    warmup_steps: int = 100  # over which the learning rate rises
    averaging: float = 0.998  # decay of the weights' moving average
    save_every: int = 250  # steps; metrics ten times as often
    compute: Compute = "float32"  # type of the convolutions; parameters are float32 always
    crop: CropConfig = field(default_factory=CropConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    perceptual: Path | None = None  # VGG weights, as `longreel perceptual` writes them; without, no such distance
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    quantizer: Kind = "ema"  # how the codebook is learned
    options: Annotated[Quantizers, arg(name="")] = field(default_factory=Quantizers)
    devices: int | None = None  # that batches are split over; None: all there are
    seed: int = 0  # of weights, codebook and crops

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.warmup_steps < self.steps:
            raise ConfigError(f"warmup_steps must be at least 0 and below steps={self.steps}, got {self.warmup_steps}")
        if not 0 <= self.averaging < 1:
            raise ConfigError(f"averaging must be in [0, 1), got {self.averaging}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.compute not in ("float32", "bfloat16"):
            raise ConfigError(f"compute must be float32 or bfloat16, got {self.compute!r}")
        if self.crop.size % losses.COARSEST:
            raise ConfigError(f"crop size must be a multiple of {losses.COARSEST}, got {self.crop.size}")
        self.model.grid(self.crop.size, self.crop.size)
        if self.discriminator.weight > 0 and self.discriminator.start < self.steps:
            self._require_crop(self.discriminator.smallest, "the discriminator's layers")
        if self.perceptual is not None:
            self._require_crop(perceptual.SMALLEST, "VGG's five blocks")
        if self.devices is not None and (self.devices < 1 or self.batch % self.devices):
            raise ConfigError(f"devices must be at least 1 and divide batch={self.batch}, got {self.devices}")

    def _require_crop(self, smallest: int, what: str) -> None:
        if self.crop.size < smallest:
            raise ConfigError(f"crop size must be at least {smallest} for {what}, got {self.crop.size}")

    @property
    def codebook(self) -> Quantizer:
        """The quantizer that was chosen, with its options."""
        return self.options.named(self.quantizer)

    @property
    def model(self) -> VqganConfig:
        """The shape of the model, as the quantizer needs it."""
        return self.codebook.fit(named(self.config))
