"""Videos and pictures for the cases: textured, moving, and each with its own seed, so that no two are duplicates."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.inputs.media import make_video

SIZE = (128, 96)
RATE = 8
Picture = NDArray[np.uint8]
_seeds = itertools.count(1)


def texture(seed: int, moment: float = 0, size: tuple[int, int] = SIZE) -> Picture:
    """Return a picture of random patches that drift with time, uint8 RGB [height, width, 3]."""
    width, height = size
    rng = np.random.default_rng(seed)
    patches = rng.integers(30, 220, (height // 8 + 2, 2 * width // 8, 3)).astype(np.uint8)
    image = Image.fromarray(patches).resize((2 * width, height + 16), Image.Resampling.BICUBIC)
    left = int(moment * (2 + seed % 5)) % width
    return np.asarray(image)[:height, left : left + width].copy()


def clip(path: Path, *, seconds: float = 3, seed: int | None = None, size: tuple[int, int] = SIZE, **more: Any) -> Path:
    """Write a moving video of 8 frames per second; `more` are options of tests.support.inputs.media.make_video."""
    number = next(_seeds) if seed is None else seed
    more.setdefault("picture", lambda i: texture(number, i, size))
    return make_video(path, frames=round(seconds * RATE), rate=RATE, size=size, **more)


def picture(path: Path, *, seed: int | None = None, size: tuple[int, int] = SIZE, **more: Any) -> Path:
    """Write a picture; `more` are options of Pillow's `save`."""
    Image.fromarray(texture(next(_seeds) if seed is None else seed, 0, size)).save(path, **more)
    return path


def animation(path: Path, *, frames: int, **more: Any) -> Path:
    """Write an animation of `frames` frames of 250 ms."""
    seed = next(_seeds)
    pictures = [Image.fromarray(texture(seed, 4 * n)) for n in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=250, **more)
    return path
