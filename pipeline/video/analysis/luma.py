"""The luma plane of frames of any pixel format, as arrays."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from pipeline.video.analysis.picture_measures import Luma
from pipeline.video.geometry import Orientation
from pipeline.video.scale import is_full_range, opaque

_LUMA_PLANE_FIRST = ("yuv4", "yuvj4", "nv12", "nv21", "nv16")
_AREA = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def frame_luma(frame: av.VideoFrame) -> tuple[Luma, bool]:
    """Return a frame's luma as coded, uint8 [height, width], and whether it is full range. Alpha is put over white.

    The array may share memory with the frame.
    """
    frame = opaque(frame)
    has_eight_bits = frame.format.components[0].bits == 8
    if has_eight_bits and frame.format.name.startswith(_LUMA_PLANE_FIRST):
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8, count=plane.line_size * frame.height)
        return rows.reshape(frame.height, plane.line_size)[:, : frame.width], is_full_range(frame)
    return _pixels(frame.reformat(format="gray", interpolation=_AREA, threads=1)), True


class LumaScaler:
    """Scales luma planes to several sizes; keeps libswscale's tables and its buffer between frames."""

    def __init__(self, count: int) -> None:
        self._reformatters = [VideoReformatter() for _ in range(count)]
        self._buffer: av.VideoFrame | None = None

    def scale(self, luma: Luma, sizes: list[tuple[int, int]]) -> list[Luma]:
        """Return `luma` scaled to each (height, width), averaging areas."""
        frame = self._gray_frame(luma)
        return [
            _pixels(reformatter.reformat(frame, width, height, "gray", interpolation=_AREA, threads=1))
            for reformatter, (height, width) in zip(self._reformatters, sizes, strict=True)
        ]

    def _gray_frame(self, luma: Luma) -> av.VideoFrame:
        # A copy of the luma, as progressive: libswscale would scale interlaced fields separately. The buffer is
        # reused, because a new frame costs ten times as much in page faults.
        height, width = luma.shape
        if self._buffer is None or (self._buffer.height, self._buffer.width) != luma.shape:
            self._buffer = av.VideoFrame(width, height, "gray")
        plane = self._buffer.planes[0]
        np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)[:, :width] = luma
        return self._buffer


def rotate(picture: Luma, oriented: Orientation) -> Luma:
    """Return a coded picture [H, W] as it is displayed."""
    return np.rot90(picture[:, ::-1] if oriented.flip else picture, oriented.turns)


def _pixels(frame: av.VideoFrame) -> Luma:
    return frame.to_ndarray().astype(np.uint8, copy=False)
