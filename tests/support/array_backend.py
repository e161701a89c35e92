"""A decoder backend for tests: a .npy file, uint8 RGB [T, H, W, 3], as a video of 25 frames per second."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.video.backends.source import IsShown
from pipeline.video.geometry import Crop, Orientation, center_crop
from pipeline.video.scale import Scaler
from pipeline.video.time_grid import TimedFrame
from pipeline.video.types import VideoInfo
from schemas.errors import InputError, Reason

_RATE = 25


class ArraySource:
    """One open file; see `pipeline.video.backends.source.FrameSource`. The content of a frame is its pixels."""

    tick_s = default_duration_s = 1 / _RATE
    allows_jumps = interlaced = False
    decode_errors = corrupt_frames = 0
    detail = ""

    def __init__(self, path: Path, *, size: int, max_pixels: int) -> None:
        self.path, self.size = path, size
        self._scaler = Scaler()
        try:
            self._frames: NDArray[np.uint8] = np.load(path)
        except ValueError as e:
            raise InputError(Reason.UNREADABLE, f"{path}: not an array of frames") from e
        count, height, width = self._frames.shape[:3]
        if width * height > max_pixels:
            raise InputError(Reason.TOO_LARGE, f"{path}: {width}x{height} pixels")
        self.info = VideoInfo(
            container="npy",
            codec="raw",
            pix_fmt="rgb24",
            width=width,
            height=height,
            coded_width=width,
            coded_height=height,
            rotation=0,
            flipped=False,
            sar=1.0,
            frame_rate=float(_RATE),
            duration_s=count / _RATE,
            start_s=0.0,
            bit_depth=8,
            full_range=True,
            hdr=False,
            interlaced=False,
            has_audio=False,
            subtitle_streams=0,
            is_picture=False,
        )

    def __enter__(self) -> ArraySource:
        return self

    def __exit__(self, *exception: object) -> None:
        del self._frames

    def timed_frames(self, is_shown: IsShown | None = None) -> Iterator[TimedFrame[NDArray[np.uint8]]]:
        for number, pixels in enumerate(self._frames):
            yield TimedFrame(number / _RATE, 1 / _RATE, pixels)

    def render(self, pixels: NDArray[np.uint8], crop: Crop | None = None) -> NDArray[np.uint8]:
        if crop is not None:
            left, top, width, height = crop
            pixels = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        placed = center_crop(pixels.shape[1], pixels.shape[0], Fraction(1), self.size)
        return self._scaler.center_crop(_frame(pixels), placed, Orientation(), self.size)

    def thumbnail(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        return self._scaler.thumbnail(_frame(pixels), size)


def _frame(pixels: NDArray[np.uint8]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")
