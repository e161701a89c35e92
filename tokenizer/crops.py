"""Training batches: random crops, mirrored and recoloured, shuffled over videos through a buffer of frames.

Frames of one video are near copies of each other; a buffer larger than a video mixes several into each batch.
Memory: `buffer_frames` frames (2,000 of 144 x 256 are 220 MB).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError, InputError, Reason


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """How frames become training crops."""

    size: int = 64  # pixels on a side
    recolour: float = 0.25  # share of crops with their colour channels exchanged: a few videos lack most colours
    buffer_frames: int = 2000  # held in memory and drawn from

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        for field in ("size", "buffer_frames"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, got {getattr(self, field)}")
        if not 0 <= self.recolour <= 1:
            raise ConfigError(f"recolour must be a share from 0 to 1, got {self.recolour}")


def crops(
    frames: Iterable[NDArray[np.uint8]], *, batch: int, config: CropConfig, seed: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield uint8 `[batch, size, size, 3]` for ever from arrays `[n, H, W, 3]`, whose H and W may vary.

    The buffer is filled first. A source that fits into it is read once; of a longer one, every batch brings in as
    many new frames as it takes, each in the place of a random old one, and at its end it is read again from its
    beginning (a list or an object that can be iterated again) or no more (a generator). The same source and seed
    give the same batches. Raises InputError when there is no frame, ConfigError when one is smaller than the crop.
    """
    rng = np.random.default_rng(seed)
    source = _single(frames, size=config.size)
    buffer = [frame for _, frame in zip(range(config.buffer_frames), source, strict=False)]
    if not buffer:
        raise InputError(Reason.EMPTY, "no frame to train on: the source of frames gave none")
    in_flight = len(buffer) == config.buffer_frames
    while True:
        for _ in range(batch if in_flight else 0):
            frame = next(source, None)
            if frame is None:
                source = _single(frames, size=config.size)
                frame = next(source, None)
            if frame is None:
                in_flight = False
                break
            buffer[rng.integers(len(buffer))] = frame
        yield np.stack([_crop(buffer[i], config=config, rng=rng) for i in rng.integers(len(buffer), size=batch)])


def _single(frames: Iterable[NDArray[np.uint8]], *, size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield checked frames `[H, W, 3]`, each a copy, so that a buffered frame does not hold its whole video."""
    for clip in frames:
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3:
            raise ConfigError(f"frames must be uint8 [n, H, W, 3], got {clip.dtype} {list(clip.shape)}")
        if min(clip.shape[1:3]) < size:
            raise ConfigError(f"crop is {size} pixels, but a frame is {clip.shape[1]}x{clip.shape[2]}")
        for frame in clip:
            yield frame.copy()


def _crop(frame: NDArray[np.uint8], *, config: CropConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a random square out of `[H, W, 3]`, mirrored half of the time, recoloured some of it."""
    top, left = (rng.integers(extent - config.size + 1) for extent in frame.shape[:2])
    crop = frame[top : top + config.size, left : left + config.size]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return crop[..., rng.permutation(3)] if rng.random() < config.recolour else crop
