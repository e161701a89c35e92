"""Generated H.264 videos of a moving texture, for benchmarks that need video without downloading any."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_texture_video(
    path: Path, *, frames: int, size: tuple[int, int] = (1280, 720), rate: int = 25, seed: int = 0, block: int = 16
) -> Path:
    """Encode random squares of `block` pixels that move diagonally by two pixels per frame; return `path`."""
    width, height = size
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (2 * height // block, 2 * width // block, 3), np.uint8)
    canvas = blocks.repeat(block, axis=0).repeat(block, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "fast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            at = 2 * i % (min(size) - 20)
            view = np.ascontiguousarray(canvas[at : at + height, at : at + width])
            frame = av.VideoFrame.from_ndarray(view, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
