"""Which frame stands at which time, and where its square lies: the arithmetic of decoding, without a decoder.

Time grid.  The wanted times are t_k = k / fps from the first frame's presentation time, for every t_k before the
end of the last frame. At t_k the frame with the latest presentation time <= t_k is shown, whatever the frame rate
does between. A grid finer than the source repeats frames, as a player would. Times in files are rounded to their
time base, so a frame counts as shown from half a tick (at most 1 ms) before its written time.

Broken times.  A frame without a time follows the one before it. A frame a little behind the one before it is never
the latest, so it is passed over and counted. A step back of more than a second is a clock that was reset (files
joined end to end, a counter that wrapped): time goes on from there. A step ahead of more than 10 s is taken as such
a reset only in formats whose clock may jump (MPEG streams, as `ffmpeg` does it); elsewhere it is a still picture.

Geometry.  Pixels are made square (sample aspect ratio), the short side is scaled to `size`, the middle square is
cut out, and that square is turned and mirrored as the file asks: a center crop is the same before and after. Where a
picture has bars, they are cut off first (`coded_crop`), so that its square is that of a file without them.

All is O(frames), in constant memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

Content = TypeVar("Content")

_RESET_BACK_S = 1.0
_RESET_AHEAD_S = 10.0
_LARGEST_EPSILON_S = 0.001
_NEVER = -(1 << 63)


@dataclass(frozen=True)
class Timed(Generic[Content]):
    """A frame and when it is shown, in seconds on the file's clock; None and 0 where the file does not say."""

    time_s: float | None
    duration_s: float
    content: Content


@dataclass
class Timeline:
    """Puts frames on one clock that starts at 0 and never runs backwards, and counts what it met.

    `typical_s` is how long a frame lasts where nothing else says so.
    """

    typical_s: float
    jumps: bool = False
    frames: int = 0
    passed_over: int = 0
    resets: int = 0
    last_s: float = 0.0
    end_s: float = 0.0
    _origin_s: float | None = None

    def place(self, time_s: float | None, duration_s: float) -> float | None:
        """Give a frame its time in seconds from the start, or None where it is never the latest."""
        if self.frames == 0:
            placed = 0.0
            self._origin_s = time_s
        elif time_s is None or self._origin_s is None:
            placed = self.end_s
            self._origin_s = self._origin_s if time_s is None else time_s - placed
        else:
            placed = time_s - self._origin_s
        step = placed - self.last_s
        if self.frames and (step < -_RESET_BACK_S or (self.jumps and step > _RESET_AHEAD_S)):
            self.resets += 1
            self._origin_s = (time_s or 0.0) - self.end_s
            placed, step = self.end_s, self.end_s - self.last_s
        self.frames += 1
        if step < 0:
            self.passed_over += 1
            return None
        if step > 0 and duration_s <= 0:
            self.typical_s = step
        self.last_s = placed
        self.end_s = placed + (duration_s if duration_s > 0 else self.typical_s)
        return placed


@dataclass
class TimeStamps:
    """Tells presentation times from nonsense, much as FFmpeg's `guess_correct_pts` does.

    Some files hold presentation times that run backwards, or none (AVI). The times of the packets then serve: of the
    two, those which have run backwards less often. `faults` counts those of the presentation times, less those of
    the packets' times; begin with 1 where the format is known to have no presentation times.
    """

    faults: int = 0
    _last_pts: int = _NEVER
    _last_dts: int = _NEVER

    def best(self, pts: int | None, dts: int | None) -> int | None:
        """The time of the next frame, in ticks, from its presentation time and that of the packet that gave it.

        None where the better kind is missing: the frame follows the one before it.
        """
        if pts is not None:
            self.faults += pts <= self._last_pts
            self._last_pts = pts
        if dts is not None:
            self.faults -= dts <= self._last_dts
            self._last_dts = dts
        if self.faults <= 0 or self._last_dts == _NEVER:
            return dts if pts is None else pts
        return dts


@dataclass(frozen=True)
class Shown(Generic[Content]):
    """One frame and the run of grid points k = first … first + count - 1 at which it is seen."""

    first: int
    count: int
    content: Content


def epsilon_s(tick_s: float, fps: float) -> float:
    """How far before its written time a frame already counts as shown: half a tick, and never much of a grid step."""
    return max(1e-7, min(tick_s / 2, _LARGEST_EPSILON_S, 0.1 / fps))


def grid_count(duration_s: float, fps: float, epsilon: float) -> int:
    """The number of grid points in a video of `duration_s` seconds; at least one.

    The end is a time plus a duration, both rounded: it is trusted to three epsilons.
    """
    return max(1, math.ceil((duration_s - 3 * epsilon) * fps))


def first_on_grid(time_s: float, fps: float, epsilon: float) -> int:
    """The first grid point at which a frame of this time counts as shown."""
    return math.ceil((time_s - epsilon) * fps)


def on_grid(
    frames: Iterable[Timed[Content]], timeline: Timeline, *, fps: float, epsilon: float
) -> Iterator[Shown[Content]]:
    """Yield the frames that are seen at a grid point, in order; together their runs cover 0, 1, 2 … without a gap.

    `frames` come in presentation order. The last frame is seen until `timeline.end_s`.
    """
    current: Content | None = None
    index = 0
    for frame in frames:
        time_s = timeline.place(frame.time_s, frame.duration_s)
        if time_s is None:
            continue
        until = first_on_grid(time_s, fps, epsilon)
        if current is not None and until > index:
            yield Shown(index, until - index, current)
            index = until
        current = frame.content
    if current is not None:
        until = grid_count(timeline.end_s, fps, epsilon)
        if until > index:
            yield Shown(index, until - index, current)


@dataclass(frozen=True)
class Orientation:
    """How a coded picture becomes the shown one: mirrored left to right if `flip`, then `turns` quarters left."""

    turns: int = 0  # counter-clockwise, as numpy.rot90
    flip: bool = False

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height change places."""
        return self.turns % 2 == 1


# EXIF tag 274: what the camera says must be done to its picture.
EXIF_ORIENTATIONS = {
    2: Orientation(0, flip=True),
    3: Orientation(2),
    4: Orientation(2, flip=True),
    5: Orientation(1, flip=True),
    6: Orientation(3),
    7: Orientation(3, flip=True),
    8: Orientation(1),
}


def orientation_of(matrix: Sequence[int]) -> Orientation:
    """Read FFmpeg's display matrix (9 integers, row by row), to the nearest quarter turn.

    A point (x, y) of the coded picture, y downwards, goes to (m0 x + m3 y, m1 x + m4 y).
    """
    m0, m1, m3, m4 = (float(matrix[i]) for i in (0, 1, 3, 4))
    flip = m0 * m4 - m1 * m3 < 0
    if flip:  # the matrix is a turn after a mirroring; take the mirroring off
        m0, m1 = -m0, -m1
    clockwise = math.degrees(math.atan2(m1, m0))
    return Orientation(round(-clockwise / 90) % 4, flip)


@dataclass(frozen=True)
class Geometry:
    """Scale a coded picture to `width` x `height`, then cut the square that starts at column `left`, row `top`."""

    width: int
    height: int
    left: int
    top: int


def geometry(width: int, height: int, sar: Fraction, size: int) -> Geometry:
    """Scale and crop for a coded picture of `width` x `height` whose pixels are `sar` times as wide as high."""
    shown_width = width * sar
    scale = Fraction(size) / min(shown_width, Fraction(height))
    scaled_width, scaled_height = max(size, round(shown_width * scale)), max(size, round(height * scale))
    return Geometry(scaled_width, scaled_height, (scaled_width - size) // 2, (scaled_height - size) // 2)


Crop = tuple[int, int, int, int]  # left, top, width, height of a part of a picture, as shown


def coded_crop(crop: Crop, shown: tuple[int, int], coded: tuple[int, int], orientation: Orientation) -> Crop:
    """Return where a part of the shown picture lies in the coded one: left, top, width, height in coded pixels.

    `shown` and `coded` are (width, height). Sides lie on even pixels, as color planes of half the size need; they
    move inwards for that, so that no line of a bar stays.
    """
    left, top, width, height = crop
    x0, x1 = Fraction(left, shown[0]), Fraction(left + width, shown[0])
    y0, y1 = Fraction(top, shown[1]), Fraction(top + height, shown[1])
    for _ in range(orientation.turns):  # undo a quarter turn to the left: the top was the right side
        x0, x1, y0, y1 = 1 - y1, 1 - y0, x0, x1
    if orientation.flip:
        x0, x1 = 1 - x1, 1 - x0
    (left, right), (top, bottom) = _even(x0, x1, coded[0]), _even(y0, y1, coded[1])
    return left, top, right - left, bottom - top


def _even(start: Fraction, end: Fraction, size: int) -> tuple[int, int]:
    """Return the range of a side of `size` pixels as whole, even ones; the picture's own end may be odd."""
    first = math.ceil(start * size / 2) * 2
    last = size if end >= 1 else math.floor(end * size / 2) * 2
    if last - first < 2:  # thinner than that: what is nearest
        first = min(first, max(0, size - 2) // 2 * 2)
        last = min(size, first + 2)
    return first, last


def shown_size(width: int, height: int, sar: Fraction, orientation: Orientation) -> tuple[int, int]:
    """Width and height in square pixels as a person sees them; the coded pixels of the longer side are kept."""
    if sar >= 1:
        width = max(1, round(width * sar))
    else:
        height = max(1, round(height / sar))
    return (height, width) if orientation.swaps_sides else (width, height)


def pixel_shape(sar: Fraction | None) -> Fraction:
    """A usable sample aspect ratio: unknown and absurd ones (beyond 16 to 1) count as square."""
    if sar is None or not Fraction(1, 16) <= sar <= 16:
        return Fraction(1)
    return sar
