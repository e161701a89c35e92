"""The architecture of a VQGAN, and the named architectures.

A frame of H x W pixels is encoded as a grid of H/factor x W/factor codes, factor = 2 ** (levels - 1). The published
LWM and aMUSEd tokenizers (`lwm-256`) and the tokenizer that ships with this project (`small-128`) are configurations of
the same model class. Fields with a default describe differences of other published VQGANs
(`tokenizer/checkpoints/published.py`); the defaults are those of LWM.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from schemas.errors import ConfigError

Compute = Literal["float32", "bfloat16"]  # dtype of the convolutions; parameters and code lookup are float32
Lookup = Literal["distance", "product", "bounded"]  # how codes are assigned to latents: tokenizer/quantizers/lookup.py
Downsample = Literal["conv", "average"]  # 3x3 with stride 2, or the mean of 2x2
Shortcut = Literal[
    "input", "output"
]  # to which the 1x1 convolution of a block is applied; MaskGIT applies it to the output
PixelRange = Literal["signed", "unsigned"]  # [-1, 1] or [0, 1] inside the model; outside it is always [-1, 1]

_CHOICES = {"lookup": Lookup, "downsample": Downsample, "shortcut": Shortcut, "pixel_range": PixelRange}


@dataclass(frozen=True, kw_only=True)
class VqganConfig:
    """Architecture of encoder, codebook and decoder; every field affects a tensor's shape, the codes or the pixels."""

    name: str
    frame_size: int  # pixels per side of the training frames; the weights accept any multiple of the factor
    channels: tuple[int, ...]  # per level, full resolution first
    blocks: int  # residual blocks per level of the encoder
    groups: int  # of every GroupNorm
    latent_dim: int  # dimension of latents and codes
    codebook_size: int
    encoder_dim: int | None = None  # channels of the encoder's output and the decoder's input; None: latent_dim
    decoder_blocks: int | None = None  # residual blocks per level of the decoder; None: blocks + 1
    attention: tuple[int, ...] = ()  # levels with attention after each residual block, in encoder and decoder
    mid_attention: bool = False  # attention between the two residual blocks of the lowest resolution
    downsample: Downsample = "conv"
    shortcut: Shortcut = "input"
    pixel_range: PixelRange = "signed"
    lookup: Lookup = "distance"

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        counts = ("frame_size", "blocks", "groups", "latent_dim", "codebook_size", "encoder_dim", "decoder_blocks")
        for field in counts:
            if (value := getattr(self, field)) is not None and value < 1:
                raise ConfigError(f"{field} must be at least 1, got {value}")
        if not self.channels:
            raise ConfigError("channels must name at least one level, got ()")
        if bad := [c for c in self.channels if c < 1 or c % self.groups]:
            raise ConfigError(f"channels must be multiples of groups={self.groups}, got {bad} in {self.channels}")
        if bad := [level for level in self.attention if not 0 <= level < len(self.channels)]:
            raise ConfigError(f"attention must name levels from 0 to {len(self.channels) - 1}, got {bad}")
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in get_args(choices):
                raise ConfigError(f"{field} must be one of {get_args(choices)}, got {getattr(self, field)!r}")
        if self.codebook_size > 1 << 31:
            raise ConfigError(f"codebook_size must fit 32 bits, got {self.codebook_size}")
        self.grid(self.frame_size, self.frame_size)

    @property
    def factor(self) -> int:
        """Pixels per side of the cell of one code."""
        return 1 << (len(self.channels) - 1)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) of codes for a frame of this size in pixels.

        Raises ConfigError if the factor does not divide the size.
        """
        for field, value in (("height", height), ("width", width)):
            if value < 1 or value % self.factor:
                raise ConfigError(
                    f"the frame's {field} must be a multiple of {self.factor} for {self.name!r}, got {value}: "
                    "resize or crop the frames first"
                )
        return height // self.factor, width // self.factor

    def bits(self, height: int, width: int) -> float:
        """Return the number of bits of a frame's codes at a fixed length per code."""
        rows, columns = self.grid(height, width)
        return rows * columns * math.log2(self.codebook_size)


def lwm_256() -> VqganConfig:
    """Return LWM's and aMUSEd's `vqgan-f16-8192`: 256 px, 16x16 codes of 8192, 146.24 M parameters, 213 GFLOP."""
    return VqganConfig(
        name="lwm-256",
        frame_size=256,
        channels=(128, 256, 256, 512, 768),
        blocks=2,
        groups=32,
        latent_dim=64,
        codebook_size=8192,
    )


def small_128() -> VqganConfig:
    """Return the architecture of the shipped tokenizer: 128 px, 8x8 codes of 1024, for machines without a GPU."""
    return VqganConfig(
        name="small-128",
        frame_size=128,
        channels=(16, 16, 32, 64, 128),
        blocks=1,
        groups=8,
        latent_dim=64,
        codebook_size=1024,
    )


CONFIGS: dict[str, Callable[[], VqganConfig]] = {"lwm-256": lwm_256, "small-128": small_128}


def named(name: str) -> VqganConfig:
    """Return the architecture with this name; raises ConfigError that lists the known names."""
    if name not in CONFIGS:
        raise ConfigError(f"config must be one of {', '.join(sorted(CONFIGS))}, got {name!r}")
    return CONFIGS[name]()


def require_weights(config: Any, *names: str) -> None:
    """Raise ConfigError if the weight of a loss is negative."""
    for name in names:
        if not getattr(config, name) >= 0:
            raise ConfigError(f"{name} must not be negative, got {getattr(config, name)}")
