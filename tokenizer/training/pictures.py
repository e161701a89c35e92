"""Pictures of a training run: frames above their reconstructions, one PNG per save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.files import atomic

PICTURES = "pictures"


def comparison(frames: NDArray[np.uint8], reconstructed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one image, uint8 `[2 H, n W, 3]`: frames `[n, H, W, 3]` in the upper row, reconstructions in the lower."""
    return np.concatenate([np.concatenate(list(row), axis=1) for row in (frames, reconstructed)])


def write_picture(run: Path, step: int, picture: NDArray[np.uint8]) -> Path:
    """Write an image `[H, W, 3]` to the run's folder of pictures, and return its path."""
    path = run / PICTURES / f"{step:06d}.png"
    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
    return path
