"""The shape of a VQGAN, and the shapes that have a name.

A frame of H x W pixels becomes a grid of H/factor x W/factor codes, factor = 2 ** (levels - 1). The published
LWM and aMUSEd tokenizers are one point of this space (`lwm-256`); the one that ships with this project is
another (`small-128`): the same model class, another config.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from schemas.errors import ConfigError

Compute = Literal["float32", "bfloat16"]  # what convolutions compute in; parameters and code search are float32
Lookup = Literal["distance", "product", "bounded"]  # how a latent finds its code: tokenizer/lookup.py


@dataclass(frozen=True, kw_only=True)
class VqganConfig:
    """The shape of encoder, codebook and decoder; every field decides the shape of some tensor or of the codes."""

    name: str
    frame_size: int  # pixels on a side that it is meant for; the weights themselves fit any multiple of the factor
    channels: tuple[int, ...]  # of each level, full resolution first
    blocks: int  # residual blocks a level in the encoder; the decoder has one more
    groups: int  # of every GroupNorm
    latent_dim: int  # of the encoder's output and of a code's embedding
    codebook_size: int
    lookup: Lookup = "distance"

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        for field in ("frame_size", "blocks", "groups", "latent_dim", "codebook_size"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, got {getattr(self, field)}")
        if not self.channels:
            raise ConfigError("channels must name at least one level, got ()")
        if bad := [c for c in self.channels if c < 1 or c % self.groups]:
            raise ConfigError(f"channels must be multiples of groups={self.groups}, got {bad} in {self.channels}")
        if self.lookup not in get_args(Lookup):
            raise ConfigError(f"lookup must be one of {', '.join(get_args(Lookup))}, got {self.lookup!r}")
        if self.codebook_size > 1 << 31:
            raise ConfigError(f"codebook_size must fit 32 bits, got {self.codebook_size}")
        self.grid(self.frame_size, self.frame_size)

    @property
    def factor(self) -> int:
        """Pixels along each side of one code's cell."""
        return 1 << (len(self.channels) - 1)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) of codes for a frame of this size in pixels.

        Raises ConfigError where the factor does not divide the size.
        """
        for field, value in (("height", height), ("width", width)):
            if value < 1 or value % self.factor:
                raise ConfigError(
                    f"the frame's {field} must be a multiple of {self.factor} for {self.name!r}, got {value}: "
                    "resize or crop the frames first"
                )
        return height // self.factor, width // self.factor


def lwm_256() -> VqganConfig:
    """Return the LWM / aMUSEd `vqgan-f16-8192` shape: 256 px, 16x16 codes of 8192, 146.24 M parameters, 213 GFLOP."""
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
    """Return the shape of the shipped tokenizer: 128 px, 8x8 codes of 1024, for machines without an accelerator."""
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
    """Return the configuration of this name; raises ConfigError that lists the names there are."""
    if name not in CONFIGS:
        raise ConfigError(f"config must be one of {', '.join(sorted(CONFIGS))}, got {name!r}")
    return CONFIGS[name]()
