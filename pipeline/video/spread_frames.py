"""Some frames of a video at equal distances from the first to the last, with bounded memory.

Axes: n frames, H and W pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.video.decoder import Decoder


def thinned_frames(decoder: Decoder, path: Path, *, held: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return frames uint8 [n, H, W, 3] of the decoder's grid and their times [n] in seconds.

    n is at most `held`: of a longer video every second, fourth, ... frame. Raises InputError as the decoder.
    """
    step, seen = 1, 0
    kept: list[tuple[NDArray[np.uint8], float]] = []
    for frames, times in decoder.frames(path):
        both = zip(frames, times.tolist(), strict=True)
        kept += [(frame.copy(), at) for n, (frame, at) in enumerate(both, seen) if n % step == 0]
        seen += len(frames)
        while len(kept) > held:
            kept, step = kept[::2], 2 * step
    return np.stack([frame for frame, _ in kept]), np.array([at for _, at in kept])


def spread_indices(length: int, count: int) -> NDArray[np.int64]:
    """Return at most `count` of the indices of `length` frames, at equal distances from the first to the last."""
    return np.linspace(0, length - 1, min(count, length)).round().astype(np.int64)
