"""Videos of scenes whose cuts, fades and dissolves are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.inputs.media import make_video

SIZE = (128, 72)


def scene(number: int, moment: float) -> NDArray[np.float32]:
    """Return a picture of a scene [72, 128, 3]: random blocks, of which one moves."""
    rng = np.random.default_rng(number)
    picture = rng.integers(20, 200, (9, 16, 3)).repeat(8, axis=0).repeat(8, axis=1) + rng.integers(0, 50)
    x = int(4 * moment) % 100
    picture[30:42, x : x + 20] = 240
    return picture.astype(np.float32)


def film(*parts: tuple[int, float, float, int]) -> Any:
    """Return the pictures of parts (scene, brightness at the start and at the end, frames); scene -1 is black."""
    pictures = []
    for number, start, end, length in parts:
        for i, share in enumerate(np.linspace(start, end, length)):
            picture = scene(number, i) * share if number >= 0 else np.zeros((72, 128, 3))
            pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


def make_film(path: Path, pictures: list[NDArray[np.uint8]], **options: Any) -> Path:
    """Write the pictures as a video of 25 frames per second."""
    return make_video(path, frames=len(pictures), size=SIZE, picture=lambda i: pictures[i], **options)
