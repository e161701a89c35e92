"""Videos of a random texture that moves at a given speed, for tests of the video analysis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.inputs.media import make_video

Picture = NDArray[np.uint8]
SIZE = (320, 180)
TEXTURE = np.random.default_rng(0).integers(0, 256, (60, 200, 3), np.uint8).repeat(6, 0).repeat(6, 1)
# A key frame every three seconds, at 10 frames per second.
LONG = {"g": "30", "sc_threshold": "0", "crf": "23"}


def moving(step: int) -> Callable[[int], Picture]:
    """Return a function that gives picture `i` of a texture that moves `step` pixels per picture."""
    return lambda i: np.ascontiguousarray(TEXTURE[90:270, step * i % 800 : step * i % 800 + 320])


def video(path: Path, picture: Callable[[int], Picture], frames: int = 50, **more: object) -> Path:
    """Write a video of the pictures that `picture` gives."""
    return make_video(path, size=SIZE, frames=frames, picture=picture, **more)  # type: ignore[arg-type]
