"""Selects frames spread evenly over a video, and writes them as one strip of thumbnails."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.video.geometry import Orientation
from pipeline.video.scale import Scaler
from pipeline.video.types import VideoInfo

SHORT_SIDE, _MAX_SIDE = 256, 1024
_EARLY_S = 0.1
_STRIP_HEIGHT, _WEBP_QUALITY = 96, 60


class ThumbnailSelector:
    """Keeps the frames that follow the middles of `count` equal parts of a video, as RGB pictures of one size."""

    def __init__(self, info: VideoInfo, count: int) -> None:
        self._size = short_side_to(SHORT_SIDE, info.height, info.width)
        self._due_s = [(part + 0.5) * info.duration_s / count for part in range(count)]
        self._scaler = Scaler()
        self._pictures: list[NDArray[np.uint8]] = []
        self._last: tuple[av.VideoFrame, Orientation] | None = None

    def offer(self, frame: av.VideoFrame, oriented: Orientation, time_s: float) -> None:
        """Keep the frame if it is the first one after the middle of a part."""
        self._last = frame, oriented
        late_s = time_s + _EARLY_S
        if self._due_s and late_s >= self._due_s[0]:
            self._due_s = [due_s for due_s in self._due_s if due_s > late_s]
            self._keep(frame, oriented)

    def pictures(self) -> NDArray[np.uint8]:
        """Return the kept frames, at least one: uint8 RGB [m, h, w, 3], the short side `SHORT_SIDE`."""
        if not self._pictures and self._last is not None:
            self._keep(*self._last)
        return np.stack(self._pictures)

    def _keep(self, frame: av.VideoFrame, oriented: Orientation) -> None:
        height, width = self._size
        self._pictures.append(self._scaler.resize(frame, width, height, oriented))


def short_side_to(size: int, height: int, width: int) -> tuple[int, int]:
    """Return (height, width) scaled so that the short side is `size`; the long side is limited."""
    scale = size / min(height, width)
    return min(_MAX_SIDE, round(height * scale)), min(_MAX_SIDE, round(width * scale))


def write_strip(pictures: NDArray[np.uint8]) -> bytes:
    """Encode pictures uint8 RGB [m, h, w, 3] side by side as one WebP."""
    from PIL import Image  # 50 ms and 5 MiB, which decoding videos does not need

    height, width = pictures.shape[1:3]
    size = (max(1, round(width * _STRIP_HEIGHT / height)), _STRIP_HEIGHT)
    row = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX)) for p in pictures]
    written = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1)).save(written, "WEBP", quality=_WEBP_QUALITY)
    return written.getvalue()
