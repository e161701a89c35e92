"""Training batches: random crops of frames, some of them scaled down, mirrored or with permuted color channels.

A batch is a pure function of the frames, a seed and the step, so a resumed run gets the batches of an uninterrupted
one. Frames of one video are similar to each other, so each crop is drawn from all frames, which may be in a
memory-mapped file (`pipeline/tokenizer_jobs/frame_cache.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import ConfigError, InputError, Reason

_HASHED_FRAMES = 64


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """How frames are cropped and augmented."""

    size: int = 64  # pixels per side
    zoom: float = 1.0  # crops up to this many times `size`, if the frame is large enough, are scaled down to `size`
    recolor: float = 0.25  # fraction of crops with permuted color channels: a few videos lack most colors

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        if self.size < 1:
            raise ConfigError(f"size must be at least 1, got {self.size}")
        if not self.zoom >= 1:
            raise ConfigError(f"zoom must be at least 1, got {self.zoom}")
        if not 0 <= self.recolor <= 1:
            raise ConfigError(f"recolor must be a share from 0 to 1, got {self.recolor}")


def require_frames(frames: NDArray[np.uint8], config: CropConfig) -> None:
    """Raise InputError if there is no frame, ConfigError if the frames have another type or are smaller than a crop."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ConfigError(f"frames must be uint8 [n, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    if not len(frames):
        raise InputError(Reason.EMPTY, "there is no frame to train on")
    if min(frames.shape[1:3]) < config.size:
        raise ConfigError(
            f"crop.size is {config.size} pixels, but a frame has {frames.shape[1]}x{frames.shape[2]}: "
            "decode larger frames, or give a smaller --crop.size"
        )


def crops(frames: NDArray[np.uint8], *, batch: int, config: CropConfig, seed: int, step: int) -> NDArray[np.uint8]:
    """Return the crops of a step, uint8 `[batch, size, size, 3]`, from frames `[n, H, W, 3]`."""
    rng = np.random.default_rng([seed, step])
    return np.stack([_crop(frames[i], config=config, rng=rng) for i in rng.integers(len(frames), size=batch)])


def fingerprint(frames: NDArray[np.uint8]) -> str:
    """Return a hash of the shape of frames `[n, H, W, 3]` and of some evenly spaced ones."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    for i in np.unique(np.linspace(0, len(frames) - 1, _HASHED_FRAMES).astype(int)):
        digest.update(frames[i].tobytes())
    return digest.hexdigest()


def _crop(frame: NDArray[np.uint8], *, config: CropConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a random square of `[H, W, 3]`: mirrored with probability 1/2, recolored with `config.recolor`."""
    largest = min(config.zoom, min(frame.shape[:2]) / config.size)
    # Log-uniform in the side; without zoom no random number is drawn.
    side = int(config.size * largest ** rng.random()) if largest > 1 else config.size
    top, left = (int(rng.integers(extent - side + 1)) for extent in frame.shape[:2])
    crop = frame[top : top + side, left : left + side]
    if side > config.size:
        picture = Image.fromarray(np.ascontiguousarray(crop))
        crop = np.asarray(picture.resize((config.size, config.size), Image.Resampling.BOX))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return crop[..., rng.permutation(3)] if rng.random() < config.recolor else crop
