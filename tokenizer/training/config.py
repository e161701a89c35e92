"""Options of the training of a frame tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from schemas.errors import ConfigError
from tokenizer.config import Compute, VqganConfig, named
from tokenizer.quantizers.base import Quantizer
from tokenizer.quantizers.registry import Quantizers
from tokenizer.training import losses, perceptual
from tokenizer.training.crops import CropConfig
from tokenizer.training.discriminator import DiscriminatorConfig
from tokenizer.training.losses import LossConfig

_QUANTIZERS = "{" + ",".join(Quantizers.names()) + "}"


@dataclass(frozen=True, kw_only=True)
class TokenizerTrainConfig:
    """Options of a training run."""

    architecture: str = "small-128"  # architecture of the model: small-128 or lwm-256
    steps: int = 6000  # number of updates
    batch: int = 16  # crops per step
    learning_rate: float = 8e-4  # peak; linear warmup, then cosine decay to 1 % of it
    warmup_steps: int = 100  # steps of linear warmup
    averaging: float = 0.998  # decay of the moving average of the weights
    save_every: int = 250  # steps between snapshots; metrics are logged ten times as often
    compute: Compute = "float32"  # dtype of the convolutions; parameters are always float32
    crop: CropConfig = field(default_factory=CropConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    perceptual: Path | None = None  # VGG weights from `longreel perceptual`; omit for no perceptual loss
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    quantizer: Annotated[str, arg(metavar=_QUANTIZERS)] = "ema"  # method of learning the codebook
    options: Annotated[Quantizers, arg(name="")] = field(default_factory=Quantizers)
    devices: int | None = None  # number of devices; None uses all
    seed: int = 0  # random seed of weights, codebook and crops

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.warmup_steps < self.steps:
            raise ConfigError(
                f"warmup_steps must be at least 0 and below steps={self.steps}, got {self.warmup_steps}: "
                "give another --warmup-steps"
            )
        if not 0 <= self.averaging < 1:
            raise ConfigError(f"averaging must be in [0, 1), got {self.averaging}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.compute not in ("float32", "bfloat16"):
            raise ConfigError(f"compute must be float32 or bfloat16, got {self.compute!r}")
        if self.crop.size % losses.CELL:
            raise ConfigError(f"crop.size must be a multiple of {losses.CELL}, got {self.crop.size}")
        self.model.grid(self.crop.size, self.crop.size)
        if self.discriminator.weight > 0 and self.discriminator.start < self.steps:
            self._require_crop(self.discriminator.min_size, "the discriminator's layers")
        if self.perceptual is not None:
            self._require_crop(perceptual.MIN_SIZE, "the five blocks of VGG")
        if self.devices is not None and (self.devices < 1 or self.batch % self.devices):
            raise ConfigError(f"devices must be at least 1 and divide batch={self.batch}, got {self.devices}")

    def _require_crop(self, min_size: int, what: str) -> None:
        if self.crop.size < min_size:
            raise ConfigError(f"crop.size must be at least {min_size} for {what}, got {self.crop.size}")

    @property
    def codebook(self) -> Quantizer:
        """The selected quantizer with its options."""
        return self.options.get(self.quantizer)

    @property
    def model(self) -> VqganConfig:
        """The architecture, configured for the quantizer."""
        return self.codebook.configure(named(self.architecture))
