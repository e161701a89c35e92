"""The time grid: which source frame is shown at each output time. Pure arithmetic, without a decoder.

Grid. Output times are t_k = k / fps, counted from the first frame's presentation time, up to the end of the last
frame. The frame at t_k is the one with the latest presentation time <= t_k, for constant and variable frame rates
alike. A grid finer than the source repeats frames, as a player does. Times in files are rounded to their time base, so
a frame counts as shown from half a tick (at most 1 ms) before its written time.

Broken timestamps. A frame without a timestamp follows the previous one. A frame slightly behind the previous one is
never the latest, so it is skipped and counted. A step back of more than 1 s is a discontinuity (concatenated files, a
counter that wrapped): time continues from the end of the previous frame. A step ahead of more than 10 s is a
discontinuity only in formats that allow them (MPEG streams, as in `ffmpeg`); in other formats the previous frame is
shown all the while.

Time O(frames), memory O(1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Content = TypeVar("Content")

_MAX_STEP_BACK_S = 1.0
_MAX_STEP_AHEAD_S = 10.0
_MAX_TOLERANCE_S = 0.001
_NEVER = -(1 << 63)


@dataclass(frozen=True)
class TimedFrame(Generic[Content]):
    """A source frame with its presentation time and duration on the file's clock, in seconds.

    `time_s` is None and `duration_s` is 0 where the file does not give them.
    """

    time_s: float | None
    duration_s: float
    content: Content


@dataclass
class Timeline:
    """Maps source times to a clock that starts at 0 and never runs backwards; counts the irregularities.

    `default_duration_s` is the duration of a frame that has none; it follows the observed frame spacing.
    """

    default_duration_s: float
    allows_jumps: bool = False
    frames: int = 0
    skipped_frames: int = 0
    discontinuities: int = 0
    last_s: float = 0.0
    end_s: float = 0.0
    _origin_s: float | None = None

    def place(self, time_s: float | None, duration_s: float) -> float | None:
        """Return the time of the next frame in seconds from the start; None for a frame that is never the latest."""
        if self.frames == 0:
            placed = 0.0
            self._origin_s = time_s
        elif time_s is None or self._origin_s is None:
            placed = self.end_s
            self._origin_s = self._origin_s if time_s is None else time_s - placed
        else:
            placed = time_s - self._origin_s
        step = placed - self.last_s
        if self.frames and self._is_discontinuity(step):
            self.discontinuities += 1
            self._origin_s = (time_s or 0.0) - self.end_s
            placed, step = self.end_s, self.end_s - self.last_s
        self.frames += 1
        if step < 0:
            self.skipped_frames += 1
            return None
        if step > 0 and duration_s <= 0:
            self.default_duration_s = step
        self.last_s = placed
        self.end_s = placed + (duration_s if duration_s > 0 else self.default_duration_s)
        return placed

    def _is_discontinuity(self, step_s: float) -> bool:
        return step_s < -_MAX_STEP_BACK_S or (self.allows_jumps and step_s > _MAX_STEP_AHEAD_S)


@dataclass
class TimestampSelector:
    """Chooses between presentation and decoding timestamps, much as FFmpeg's `guess_correct_pts` does.

    Some files hold presentation timestamps that run backwards, or none (AVI). The decoding timestamps then serve: of
    the two, those that have run backwards less often. `faults` is the number of faults of the presentation timestamps
    minus that of the decoding timestamps; start with 1 for a format that is known to have no presentation timestamps.
    """

    faults: int = 0
    _last_pts: int = _NEVER
    _last_dts: int = _NEVER

    def select(self, pts: int | None, dts: int | None) -> int | None:
        """Return the next frame's time in ticks; None where the more reliable timestamp is missing."""
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
class GridRun(Generic[Content]):
    """One source frame and the grid indices first, ..., first + count - 1 at which it is shown."""

    first: int
    count: int
    content: Content


def tolerance_s(tick_s: float, fps: float) -> float:
    """Return how long before its written time a frame counts as shown: half a tick, a small part of a grid step."""
    return max(1e-7, min(tick_s / 2, _MAX_TOLERANCE_S, 0.1 / fps))


def grid_length(duration_s: float, fps: float, tolerance: float) -> int:
    """Return the number of grid points in a video of `duration_s` seconds; at least one.

    The end is a time plus a duration, both rounded, so it is trusted to three tolerances only.
    """
    return max(1, math.ceil((duration_s - 3 * tolerance) * fps))


def first_grid_index(time_s: float, fps: float, tolerance: float) -> int:
    """Return the first grid index at which a frame with this time is shown."""
    return math.ceil((time_s - tolerance) * fps)


def sample_on_grid(
    frames: Iterable[TimedFrame[Content]], timeline: Timeline, *, fps: float, tolerance: float
) -> Iterator[GridRun[Content]]:
    """Yield the frames that are shown at some grid point; their runs cover 0, 1, 2, ... in order without gaps.

    `frames` are in presentation order. The last frame is shown until `timeline.end_s`.
    """
    current: Content | None = None
    index = 0
    for frame in frames:
        time_s = timeline.place(frame.time_s, frame.duration_s)
        if time_s is None:
            continue
        until = first_grid_index(time_s, fps, tolerance)
        if current is not None and until > index:
            yield GridRun(index, until - index, current)
            index = until
        current = frame.content
    if current is not None:
        until = grid_length(timeline.end_s, fps, tolerance)
        if until > index:
            yield GridRun(index, until - index, current)
