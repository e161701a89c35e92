"""All looks at one video, put together: its measures, its crop, its samples, and a strip of thumbnails.

Memory does not grow with the video: what is needed of each look until the bars are known (17 kB) goes through a
temporary file. A look costs 3 to 4 ms at 720p, beside the decoding of its frame.

The measures, each over the picture without bars; shares are of the video's time, from look to look:

brightness     mean gray level, 0 to 255, of the brightest look
black_share    looks in which 98 % of the picture are black
frozen_share   from one look to the next nothing differs
still_share    less than 2 % of the picture differ (slides, a screen)
motion         mean change of gray level a second, between looks at most a second apart
sharpness      variance of the Laplacian on 256 pixels for the short side, exceeded in a tenth of the sharpest look
blockiness     steps between pixels at the edges of 8 x 8 blocks over those elsewhere, median
combing        share of the examined frames in which more than 0.5 % of the pixels are torn into lines
picture_share  of the frame, what is no bar
sampled_frames  how many
"""

from __future__ import annotations

import io
import itertools
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.analysis.frame_signature import GRAY_SIDE, frame_signature
from pipeline.video.analysis.picture_measures import (
    TILES,
    Box,
    Luma,
    change,
    comb_share,
    find_picture,
    grid_steps,
    is_black,
    sharpness,
    square,
    tile_detail,
    to_full_range,
)
from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.scale import Scaler, is_full_range
from pipeline.video.time_grid import Orientation
from pipeline.video.types import VideoInfo
from schemas.errors import storage_errors

_GRAY = 128  # side of the small picture that is kept of a look
_DETAIL_SIDE, _LONGEST_SIDE = 256, 1024
_WINDOW = 384, 640  # rows and columns, in the middle of the frame, that are examined pixel by pixel
_EXAMINE_EVERY_S, _EXAMINE_BELOW = 10.0, 8  # how often; all of the first looks
_IN_MEMORY_BYTES = 1 << 20
_FROZEN_MEAN, _STILL_SHARE = 0.5, 0.02
_COMBED = 0.005
_PAIR_S = 1.0
_ALBUM_EARLY_S = 0.1
_STRIP_HEIGHT, _WEBP_QUALITY = 96, 60
_LUMA_FIRST = ("yuv4", "yuvj4", "yuva4", "nv12", "nv21", "nv16")
_AREA = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


class Looks:
    """Takes frames in the order they are shown. A context manager; `found` ends it."""

    def __init__(self, info: VideoInfo, config: AnalysisConfig) -> None:
        self._info, self._config = info, config
        self._at = array("d")
        self._kept = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
        self._to_gray, self._to_detail = VideoReformatter(), VideoReformatter()
        self._plain: av.VideoFrame | None = None
        self._brightest: Luma | None = None
        self._first: tuple[bool, Orientation] = (True, Orientation())
        self._steps, self._combed = array("d"), array("d")
        self._examine_s = 0.0
        self._album = _Album(info, config.thumbnails)

    def __enter__(self) -> Looks:
        return self

    def __exit__(self, *exception: object) -> None:
        self._kept.close()

    def __len__(self) -> int:
        return len(self._at)

    def longest_gap_s(self, end_s: float) -> float:
        """Return the longest time without a look, up to the end of the video."""
        return max((b - a for a, b in itertools.pairwise([*self._at, end_s])), default=end_s)

    def take(self, frame: av.VideoFrame, turned: Orientation, at_s: float) -> None:
        """Look at one frame, shown `at_s` seconds from the first. Raises StorageError where the disk is full."""
        luma, is_full = _luma(frame)
        if self._brightest is None:
            self._brightest, self._first = luma.copy(), (is_full, turned)
        elif self._brightest.shape == luma.shape:
            np.maximum(self._brightest, luma, out=self._brightest)
        plain = self._plain_frame(luma)
        small = [_GRAY, _GRAY], _short_side_to(_DETAIL_SIDE, *luma.shape)
        for reformatter, (height, width) in zip((self._to_gray, self._to_detail), small, strict=True):
            scaled = _pixels(reformatter.reformat(plain, width, height, "gray", interpolation=_AREA, threads=1))
            seen = _turn(scaled if is_full else to_full_range(scaled), turned)
            with storage_errors(Path(tempfile.gettempdir())):
                self._kept.write((seen if reformatter is self._to_gray else tile_detail(seen)).tobytes())
        if at_s >= self._examine_s or len(self._at) < _EXAMINE_BELOW:
            self._examine(luma)
            self._examine_s = at_s + _EXAMINE_EVERY_S
        self._album.offer(frame, turned, at_s)
        self._at.append(at_s)

    def found(self, end_s: float) -> VideoStats:
        """Put everything together, for a video that ends at `end_s`; at least one look must have been taken."""
        if self._brightest is None:
            raise ValueError("nothing was looked at")
        is_full, turned = self._first
        brightest = _turn(self._brightest if is_full else to_full_range(self._brightest), turned)
        shape, box = brightest.shape, find_picture(brightest)
        at = np.array(self._at)
        lasts = np.maximum(np.diff(at, append=end_s), 0)
        if not lasts.any():
            lasts[-1] = 1.0  # a still picture stands for itself
        over_time = _OverTime(shape, box)
        samples = tuple(over_time.see(gray, detail, s) for (gray, detail), s in zip(self._read(), at, strict=True))
        pictures = self._album.pictures()
        return VideoStats(
            info=self._info,
            content_id=None,
            crop=self._as_shown(box, shape),
            measures={
                **over_time.measures(lasts, is_still=self._info.is_picture),
                **({"blockiness": median(self._steps)} if self._steps else {}),
                **({"combing": sum(self._combed) / len(self._combed)} if self._combed else {}),
                "picture_share": box.width * box.height / (shape[0] * shape[1]),
                "sampled_frames": float(len(at)),
            },
            times_s=at,
            durations_s=lasts,
            signatures=samples,
            thumbnail=_strip(pictures),
            frames=pictures if self._config.frames else pictures[:0],
        )

    def _plain_frame(self, luma: Luma) -> av.VideoFrame:
        # Luma alone, and not as two fields, which libswscale would scale apart. A new frame each time costs ten times
        # as much, in pages that are touched for the first time.
        height, width = luma.shape
        if self._plain is None or (self._plain.height, self._plain.width) != luma.shape:
            self._plain = av.VideoFrame(width, height, "gray")
        plane = self._plain.planes[0]
        np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)[:, :width] = luma
        return self._plain

    def _examine(self, luma: Luma) -> None:
        height, width = luma.shape
        top, left = (max(0, (side - most) // 16 * 8) for side, most in zip((height, width), _WINDOW, strict=True))
        window = luma[top : top + _WINDOW[0], left : left + _WINDOW[1]]
        if min(window.shape) >= 16:
            self._steps.append(grid_steps(window))
            self._combed.append(float(comb_share(window) > _COMBED))

    def _read(self) -> Iterator[tuple[Luma, NDArray[np.float32]]]:
        self._kept.seek(0)
        for _ in self._at:
            gray = np.frombuffer(self._kept.read(_GRAY * _GRAY), np.uint8).reshape(_GRAY, _GRAY)
            detail = np.frombuffer(self._kept.read(4 * TILES * TILES), np.float32).reshape(TILES, TILES)
            yield gray, detail

    def _as_shown(self, box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        across, down = self._info.width / shape[1], self._info.height / shape[0]
        left, top = round(box.left * across), round(box.top * down)
        right, bottom = round((box.left + box.width) * across), round((box.top + box.height) * down)
        return left, top, right - left, bottom - top


class _OverTime:
    """What follows from the small pictures of the looks, one after another."""

    def __init__(self, shape: tuple[int, ...], box: Box) -> None:
        self._shape, self._box = (shape[0], shape[1]), box
        rows = _cells(box.top, box.height, shape[0])
        columns = _cells(box.left, box.width, shape[1])
        self._inside = rows, columns
        self._last: tuple[Luma, float] | None = None
        self.brightness = self.sharpness = 0.0
        self._black = bytearray()
        self._frozen, self._still = bytearray(), bytearray()
        self._moved = self._moved_s = 0.0

    def see(self, gray: Luma, detail: NDArray[np.float32], at_s: float) -> bytes:
        """Take the next look; returns its sample."""
        inside = gray[self._inside]
        self.brightness = max(self.brightness, float(inside.mean()))
        self.sharpness = max(self.sharpness, sharpness(detail, self._box, self._shape))
        self._black.append(is_black(inside))
        if self._last is not None:
            before, before_s = self._last
            changed = change(before, inside)
            self._frozen.append(changed.share == 0 and changed.mean < _FROZEN_MEAN)
            self._still.append(changed.share < _STILL_SHARE)
            if 0 < at_s - before_s <= _PAIR_S:
                self._moved += changed.mean
                self._moved_s += at_s - before_s
        self._last = inside, at_s
        return frame_signature(square(gray, self._box, self._shape, GRAY_SIDE))

    def measures(self, lasts: NDArray[np.float64], *, is_still: bool) -> dict[str, float]:
        """Return the measures; those that compare looks only where there are two, and for no still picture."""
        found = {"brightness": self.brightness, "sharpness": self.sharpness}
        if is_still:
            return found
        found["black_share"] = _share(self._black, lasts)
        if len(lasts) > 1 and lasts[:-1].any():
            found["frozen_share"] = _share(self._frozen, lasts[:-1])
            found["still_share"] = _share(self._still, lasts[:-1])
        if self._moved_s:
            found["motion"] = self._moved / self._moved_s
        return found


class _Album:
    """Keeps the frames that follow the middles of equal parts of the video, as RGB pictures of one size."""

    def __init__(self, info: VideoInfo, count: int) -> None:
        self._sides = _short_side_to(_DETAIL_SIDE, info.height, info.width)
        self._due_s = [(part + 0.5) * info.duration_s / count for part in range(count)]
        self._scaler = Scaler()
        self._pictures: list[NDArray[np.uint8]] = []
        self._last: tuple[av.VideoFrame, Orientation] | None = None

    def offer(self, frame: av.VideoFrame, turned: Orientation, at_s: float) -> None:
        self._last = frame, turned
        late_s = at_s + _ALBUM_EARLY_S
        if self._due_s and late_s >= self._due_s[0]:
            self._due_s = [due_s for due_s in self._due_s if due_s > late_s]
            self._keep(frame, turned)

    def pictures(self) -> NDArray[np.uint8]:
        """Return what was kept: [m, h, w, 3], at least one."""
        if not self._pictures and self._last is not None:
            self._keep(*self._last)
        return np.stack(self._pictures)

    def _keep(self, frame: av.VideoFrame, turned: Orientation) -> None:
        height, width = self._sides
        self._pictures.append(self._scaler.whole(frame, width, height, turned))


def _luma(frame: av.VideoFrame) -> tuple[Luma, bool]:
    """Return a frame's luma as coded, uint8 [height, width], and whether it has full range."""
    eight_bits = frame.format.components[0].bits == 8
    if eight_bits and frame.format.name.startswith(_LUMA_FIRST):
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8, count=plane.line_size * frame.height)
        return rows.reshape(frame.height, plane.line_size)[:, : frame.width], is_full_range(frame)
    return _pixels(frame.reformat(format="gray", interpolation=_AREA, threads=1)), True


def _pixels(frame: av.VideoFrame) -> Luma:
    return frame.to_ndarray().astype(np.uint8, copy=False)


def _turn(picture: Luma, turned: Orientation) -> Luma:
    return np.rot90(picture[:, ::-1] if turned.flip else picture, turned.turns)


def _short_side_to(size: int, height: int, width: int) -> tuple[int, int]:
    scale = size / min(height, width)
    return min(_LONGEST_SIDE, round(height * scale)), min(_LONGEST_SIDE, round(width * scale))


def _cells(start: int, length: int, of: int) -> slice:
    """Return the cells of the small picture that lie within a stretch of the frame; at least one."""
    first, last = -(-start * _GRAY // of), (start + length) * _GRAY // of
    return slice(min(first, _GRAY - 1), max(last, first + 1))


def _share(flags: bytearray, seconds: NDArray[np.float64]) -> float:
    return float(seconds[np.frombuffer(flags, np.bool_)].sum() / seconds.sum())


def _strip(pictures: NDArray[np.uint8]) -> bytes:
    height, width = pictures.shape[1:3]
    size = (max(1, round(width * _STRIP_HEIGHT / height)), _STRIP_HEIGHT)
    row = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX)) for p in pictures]
    written = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1)).save(written, "WEBP", quality=_WEBP_QUALITY)
    return written.getvalue()
