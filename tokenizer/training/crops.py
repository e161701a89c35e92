"""Training batches: random crops of frames, some of them scaled down, mirrored and recolored.

A batch is a function of the frames, a seed and the step, and of nothing that was drawn before: a run that goes on in
the middle meets the batches that it would have met. Frames of one video are near copies of each other, so each crop
is drawn from all frames there are, which may lie in a file that is mapped (`pipeline/tokenizer_jobs/frame_cache.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import ConfigError, InputError, Reason


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """How frames become training crops."""

    size: int = 64  # pixels on a side
    zoom: float = 1.0  # squares up to so many times larger, as far as frames reach, are cut out and scaled down
    recolor: float = 0.25  # share of crops with their color channels exchanged: a few videos lack most colors

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        if self.size < 1:
            raise ConfigError(f"size must be at least 1, got {self.size}")
        if not self.zoom >= 1:
            raise ConfigError(f"zoom must be at least 1, got {self.zoom}")
        if not 0 <= self.recolor <= 1:
            raise ConfigError(f"recolor must be a share from 0 to 1, got {self.recolor}")


def require_frames(frames: NDArray[np.uint8], config: CropConfig) -> None:
    """Raise InputError where there is no frame, ConfigError where frames are none or smaller than the crop."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ConfigError(f"frames must be uint8 [n, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    if not len(frames):
        raise InputError(Reason.EMPTY, "no frame to train on")
    if min(frames.shape[1:3]) < config.size:
        raise ConfigError(
            f"crop is {config.size} pixels, but a frame is {frames.shape[1]}x{frames.shape[2]}: "
            "decode larger frames, or cut smaller crops"
        )


def crops(frames: NDArray[np.uint8], *, batch: int, config: CropConfig, seed: int, step: int) -> NDArray[np.uint8]:
    """Return the crops of a step, uint8 `[batch, size, size, 3]`, from frames `[n, H, W, 3]`."""
    rng = np.random.default_rng([seed, step])
    return np.stack([_crop(frames[i], config=config, rng=rng) for i in rng.integers(len(frames), size=batch)])


def _crop(frame: NDArray[np.uint8], *, config: CropConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a random square out of `[H, W, 3]`, mirrored half of the time, recolored some of it."""
    largest = min(config.zoom, min(frame.shape[:2]) / config.size)
    # Each doubling of the side as often as the next; without zoom nothing is drawn.
    side = int(config.size * largest ** rng.random()) if largest > 1 else config.size
    top, left = (int(rng.integers(extent - side + 1)) for extent in frame.shape[:2])
    crop = frame[top : top + side, left : left + side]
    if side > config.size:
        picture = Image.fromarray(np.ascontiguousarray(crop))
        crop = np.asarray(picture.resize((config.size, config.size), Image.Resampling.BOX))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return crop[..., rng.permutation(3)] if rng.random() < config.recolor else crop
