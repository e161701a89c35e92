"""Writes frames as an H.264 video."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.files import atomic

_MAX_DENOMINATOR = 1001  # 30000/1001 and the other rates of television are exact


def write_video(
    path: Path,
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    *,
    rate: float,
    only_key_frames: bool = False,
) -> None:
    """Write frames [n, H, W, 3] as an MP4 file of `rate` frames a second. Raises ConfigError for odd sizes."""
    height, width = frames[0].shape[:2]
    if height % 2 or width % 2:
        raise ConfigError(f"the height and width of a video must be even, got {height} and {width}")
    options = {"crf": "10"} | ({"g": "1", "bf": "0"} if only_key_frames else {})
    with atomic(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        exact = Fraction(rate).limit_denominator(_MAX_DENOMINATOR)
        stream = container.add_stream("libx264", rate=exact, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
