"""Combines the sampled frames of one video: its measures, its crop, its signatures, and a strip of thumbnails.

Memory does not grow with the video: what is needed of each frame until the black bars are known (17 kB) goes through a
temporary file. Cost: 0.8 ms per sampled frame at 720p, without decoding it.

The measures, all of the picture without bars. Shares are of the video's time; a sampled frame stands for the time until
the next one.

brightness      mean gray level, 0 to 255, of the brightest sampled frame
black_share     sampled frames in which 98 % of the picture are black
frozen_share    nothing differs from one sampled frame to the next, about half a second later or more
still_share     less than 2 % of the picture differ (slides, a screen)
motion          mean change of gray level per second, between sampled frames at most one second apart
sharpness       variance of the Laplacian with the short side at 256 pixels: 90th percentile over the tiles of the
                sharpest sampled frame
blockiness      steps between pixels at the edges of 8 x 8 blocks over those elsewhere, median
combing         share of the examined frames in which more than 0.5 % of the pixels show interlacing
picture_share   share of the frame that is not black bars
sampled_frames  their number
"""

from __future__ import annotations

import itertools
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.black_bars import find_picture
from pipeline.video.analysis.frame_signature import GRAY_SIDE, frame_signature
from pipeline.video.analysis.luma import LumaScaler, frame_luma, rotate
from pipeline.video.analysis.picture_measures import (
    TILES,
    Box,
    Luma,
    change,
    comb_share,
    grid_steps,
    is_black,
    resample,
    sharpness,
    tile_detail,
    to_full_range,
)
from pipeline.video.analysis.thumbnails import SHORT_SIDE, ThumbnailSelector, short_side_to, write_strip
from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.geometry import Crop, Orientation
from pipeline.video.types import VideoInfo
from schemas.errors import storage_errors

_GRAY = 128  # side of the gray picture that is kept of each sampled frame
_WINDOW = 384, 640  # rows and columns in the middle of a frame that are examined at full resolution
_EXAMINE_INTERVAL_S, _EXAMINE_FIRST = 10.0, 8
_MAX_MEMORY_BYTES = 1 << 20
_FROZEN_MEAN, _STILL_SHARE = 0.5, 0.02
_COMBED_SHARE = 0.005
_MIN_COMPARED_S, _MAX_MOTION_GAPS_S = 0.4, (0.75, 1.0)  # between frames that are compared


class FrameSummary:
    """Accumulates sampled frames in the order they are shown. A context manager; `stats` ends it."""

    def __init__(self, info: VideoInfo, config: AnalysisConfig) -> None:
        self._info, self._config = info, config
        self._times = array("d")
        self._file = tempfile.SpooledTemporaryFile(max_size=_MAX_MEMORY_BYTES)  # noqa: SIM115
        self._scaler = LumaScaler(2)
        self._brightest: Luma | None = None
        self._first: tuple[bool, Orientation] = (True, Orientation())  # of the first frame: is full range, orientation
        self._steps, self._combed = array("d"), array("d")
        self._examine_s = 0.0
        self._thumbnails = ThumbnailSelector(info, config.thumbnails)

    def __enter__(self) -> FrameSummary:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._times)

    def max_gap_s(self, end_s: float) -> float:
        """Return the longest time without a sampled frame, up to the end of the video."""
        return max((b - a for a, b in itertools.pairwise([*self._times, end_s])), default=end_s)

    def add(self, frame: av.VideoFrame, oriented: Orientation, time_s: float) -> None:
        """Add a frame shown `time_s` seconds after the first. Raises StorageError where the disk is full."""
        luma, is_full = frame_luma(frame)
        if self._brightest is None:
            self._brightest, self._first = luma.copy(), (is_full, oriented)
        elif self._brightest.shape == luma.shape:
            np.maximum(self._brightest, luma, out=self._brightest)
        scaled = self._scaler.scale(luma, [(_GRAY, _GRAY), short_side_to(SHORT_SIDE, *luma.shape)])
        gray, larger = (rotate(s if is_full else to_full_range(s), oriented) for s in scaled)
        with storage_errors(Path(tempfile.gettempdir())):
            self._file.write(gray.tobytes())
            self._file.write(tile_detail(larger).tobytes())
        if time_s >= self._examine_s or len(self._times) < _EXAMINE_FIRST:
            self._examine(luma)
            self._examine_s = time_s + _EXAMINE_INTERVAL_S
        self._thumbnails.offer(frame, oriented, time_s)
        self._times.append(time_s)

    def stats(self, end_s: float) -> VideoStats:
        """Return the statistics of a video that ends at `end_s`. Raises ValueError if no frame was added."""
        if self._brightest is None:
            raise ValueError("cannot summarize a video without sampled frames")
        is_full, oriented = self._first
        brightest = rotate(self._brightest if is_full else to_full_range(self._brightest), oriented)
        shape, box = brightest.shape, find_picture(brightest, lambda: (gray for gray, _ in self._read()))
        times_s = np.array(self._times)
        durations_s = np.maximum(np.diff(times_s, append=end_s), 0)
        if not durations_s.any():
            durations_s[-1] = 1.0  # a still picture has no duration; any weight will do
        over_time = _TimeStatistics((shape[0], shape[1]), box)
        signatures = tuple(over_time.add(*kept, t) for kept, t in zip(self._read(), times_s, strict=True))
        pictures = self._thumbnails.pictures()
        return VideoStats(
            info=self._info,
            content_id=None,
            crop=self._displayed_crop(box, shape),
            measures={
                **over_time.measures(durations_s, is_still=self._info.is_picture),
                **({"blockiness": median(self._steps)} if self._steps else {}),
                **({"combing": sum(self._combed) / len(self._combed)} if self._combed else {}),
                "picture_share": box.width * box.height / (shape[0] * shape[1]),
                "sampled_frames": float(len(times_s)),
            },
            times_s=times_s,
            durations_s=durations_s,
            signatures=signatures,
            activity=b"",
            thumbnail=write_strip(pictures),
            frames=pictures if self._config.frames else pictures[:0],
        )

    def _examine(self, luma: Luma) -> None:
        height, width = luma.shape
        top, left = (max(0, (side - most) // 16 * 8) for side, most in zip((height, width), _WINDOW, strict=True))
        window = luma[top : top + _WINDOW[0], left : left + _WINDOW[1]]
        if min(window.shape) >= 16:
            self._steps.append(grid_steps(window))
            self._combed.append(float(comb_share(window) > _COMBED_SHARE))

    def _read(self) -> Iterator[tuple[Luma, NDArray[np.float32]]]:
        self._file.seek(0)
        for _ in self._times:
            gray = np.frombuffer(self._file.read(_GRAY * _GRAY), np.uint8).reshape(_GRAY, _GRAY)
            detail = np.frombuffer(self._file.read(4 * TILES * TILES), np.float32).reshape(TILES, TILES)
            yield gray, detail

    def _displayed_crop(self, box: Box, shape: tuple[int, ...]) -> Crop:
        across, down = self._info.width / shape[1], self._info.height / shape[0]
        left, top = round(box.left * across), round(box.top * down)
        right, bottom = round((box.left + box.width) * across), round((box.top + box.height) * down)
        return left, top, right - left, bottom - top


class _TimeStatistics:
    """Statistics over the gray pictures of the sampled frames, which are added in order."""

    def __init__(self, shape: tuple[int, int], box: Box) -> None:
        self._shape, self._box = shape, box
        self._inside = _cells(box.top, box.height, shape[0]), _cells(box.left, box.width, shape[1])
        self._last: tuple[Luma, float] | None = None
        self.brightness = self.sharpness = 0.0
        self._black = bytearray()
        self._frozen, self._still, self._compared_s = bytearray(), bytearray(), array("d")
        self._changes = array("d")

    def add(self, gray: Luma, detail: NDArray[np.float32], time_s: float) -> bytes:
        """Add the next sampled frame; returns its signature."""
        inside = gray[self._inside]
        self.brightness = max(self.brightness, float(inside.mean()))
        self.sharpness = max(self.sharpness, sharpness(detail, self._box, self._shape))
        self._black.append(is_black(inside))
        if self._last is None:
            self._last = inside, time_s
        elif time_s - self._last[1] >= _MIN_COMPARED_S:
            self._compare(*self._last, inside, time_s)
            self._last = inside, time_s
        return frame_signature(resample(gray, self._box, self._shape, GRAY_SIDE))

    def measures(self, durations_s: NDArray[np.float64], *, is_still: bool) -> dict[str, float]:
        """Return the measures; those that compare frames only where there are two, and not for a still picture."""
        measures = {"brightness": self.brightness, "sharpness": self.sharpness}
        if is_still:
            return measures
        measures["black_share"] = _share(self._black, durations_s)
        if self._compared_s:
            compared_s = np.array(self._compared_s)
            measures["frozen_share"] = _share(self._frozen, compared_s)
            measures["still_share"] = _share(self._still, compared_s)
            measures |= self._motion(compared_s)
        return measures

    def _motion(self, compared_s: NDArray[np.float64]) -> dict[str, float]:
        """Return the motion, of frames about half a second apart if there are any: a change does not grow for ever."""
        for gap_s in _MAX_MOTION_GAPS_S:
            if (near := compared_s <= gap_s).any():
                return {"motion": float(np.array(self._changes)[near].sum() / compared_s[near].sum())}
        return {}

    def _compare(self, before: Luma, before_s: float, after: Luma, after_s: float) -> None:
        changed = change(before, after)
        self._compared_s.append(after_s - before_s)
        self._frozen.append(changed.share == 0 and changed.mean < _FROZEN_MEAN)
        self._still.append(changed.share < _STILL_SHARE)
        self._changes.append(changed.mean)


def _cells(start: int, length: int, of: int) -> slice:
    """Return the cells of the gray picture that lie inside the pixels [start, start + length) of `of`; at least one."""
    first, last = -(-start * _GRAY // of), (start + length) * _GRAY // of
    return slice(min(first, _GRAY - 1), max(last, first + 1))


def _share(flags: bytearray, durations_s: NDArray[np.float64]) -> float:
    return float(durations_s[np.frombuffer(flags, np.bool_)].sum() / durations_s.sum())
