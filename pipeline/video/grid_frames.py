"""Decodes one open video onto the time grid, and reports what was decoded. Runs in the decoder process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.video.backends.source import FrameSource
from pipeline.video.geometry import Crop
from pipeline.video.shots.protocol import ShotDetector
from pipeline.video.time_grid import (
    GridRun,
    TimedFrame,
    Timeline,
    first_grid_index,
    grid_length,
    sample_on_grid,
    tolerance_s,
)
from pipeline.video.types import DecodeConfig, DecodeReport
from schemas.errors import InputError, Reason


class GridFrames:
    """The frames of one video on the grid, and the report after they were read.

    `check_stop` is called before each source frame and may raise to end decoding. `crop` is in displayed pixels;
    raises InputError (UNREADABLE) where it lies outside the picture. `detector` receives every source frame.
    """

    def __init__(
        self,
        source: FrameSource,
        config: DecodeConfig,
        check_stop: Callable[[], None],
        *,
        crop: Crop | None = None,
        detector: ShotDetector | None = None,
    ) -> None:
        self._source, self._config, self._check_stop, self._crop = source, config, check_stop, crop
        self._detector = detector
        _require_inside(crop, source)
        self._timeline = Timeline(source.default_duration_s, allows_jumps=source.allows_jumps)
        self._tolerance = tolerance_s(source.tick_s, config.fps)
        self._frames = 0

    def read(self) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 RGB [size, size, 3] per grid point. Raises InputError TOO_LONG beyond the duration limit."""
        fps, limit = self._config.fps, self._config.duration_limit_s * self._config.fps
        for run in sample_on_grid(self._source_frames(), self._timeline, fps=fps, tolerance=self._tolerance):
            if self._source.info.is_picture:
                run = GridRun(0, 1, run.content)
            if run.first + run.count > limit:
                raise InputError(
                    Reason.TOO_LONG,
                    f"{self._source.path}: longer than {self._config.duration_limit_s:g} s (duration_limit_s), "
                    "or its timestamps are broken",
                )
            frame = self._source.render(run.content, self._crop)
            for _ in range(run.count):
                self._frames += 1
                yield frame

    def report(self) -> DecodeReport:
        """Return the report; call after `read` has ended."""
        source, timeline, info = self._source, self._timeline, self._source.info
        shots = self._detector.starts() if self._detector is not None else []
        return DecodeReport(
            frames=self._frames,
            frames_promised=self._promised_frames(),
            duration_s=0.0 if info.is_picture else timeline.end_s,
            duration_promised_s=info.duration_s,
            source_frames=timeline.frames,
            corrupt_frames=source.corrupt_frames,
            decode_errors=source.decode_errors,
            skipped_frames=timeline.skipped_frames,
            discontinuities=timeline.discontinuities,
            interlaced=source.interlaced or info.interlaced,
            detail=source.detail,
            start_s=0.0 if info.is_picture else info.start_s - info.container_start_s,
            shots=shots,
            shot_frames=[first_grid_index(time_s, self._config.fps, self._tolerance) for time_s in shots],
        )

    def _promised_frames(self) -> int:
        info = self._source.info
        if info.is_picture:
            return 1
        return grid_length(info.duration_s, self._config.fps, self._tolerance) if info.duration_s > 0 else self._frames

    def _source_frames(self) -> Iterator[TimedFrame[Any]]:
        timeline = self._timeline
        is_shown = self._is_shown if self._detector is None else None  # detectors compare all frames
        for frame in self._source.timed_frames(is_shown):
            self._check_stop()
            skipped = timeline.skipped_frames
            yield frame
            # The consumer has placed the frame on the timeline by now.
            if self._detector is not None and timeline.skipped_frames == skipped:
                self._detector.add(self._source.thumbnail(frame.content, self._detector.size), timeline.last_s)

    def _is_shown(self, start_s: float, end_s: float) -> bool:
        fps, tolerance = self._config.fps, self._tolerance
        return first_grid_index(end_s, fps, tolerance) > first_grid_index(start_s, fps, tolerance)


def _require_inside(crop: Crop | None, source: FrameSource) -> None:
    if crop is None:
        return
    left, top, width, height = crop
    info = source.info
    if min(left, top) < 0 or min(width, height) < 1 or left + width > info.width or top + height > info.height:
        raise InputError(
            Reason.UNREADABLE,
            f"{source.path}: the crop {width}x{height} at {left},{top} is not inside the picture of "
            f"{info.width}x{info.height}; run the survey again",
        )
