"""One video as the decoder process sees it, whatever decodes it: open, walk the time grid, report.

A backend is a class with the face of `Source`. Which one opens a file is decided by its first bytes (a picture or
not) and by the configuration (PyAV or decord).
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.video.backends.container import is_picture
from pipeline.video.backends.pyav import PyAVSource
from pipeline.video.shots.protocol import ShotDetector
from pipeline.video.time_grid import (
    Crop,
    Orientation,
    Shown,
    Timed,
    Timeline,
    epsilon_s,
    first_on_grid,
    grid_count,
    on_grid,
)
from pipeline.video.types import Backend, DecodeConfig, DecodeReport, VideoInfo
from schemas.errors import InputError, Reason

_HEAD_BYTES = 32


class Source(Protocol):
    """One open video. `timed_frames` yields, in presentation order, things that `render` makes squares of."""

    path: Path
    info: VideoInfo
    decode_errors: int
    corrupt_frames: int
    interlaced: bool
    detail: str

    @property
    def tick_s(self) -> float:
        """Seconds to which times in the file are rounded."""

    @property
    def typical_s(self) -> float:
        """How long a frame lasts where the file does not say."""

    @property
    def clock_may_jump(self) -> bool:
        """Whether the format's times may be reset in mid-stream."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

    def timed_frames(self) -> Iterator[Timed[Any]]:
        """Yield every frame of the video and when it is shown."""

    def render(self, content: Any, crop: Crop | None = None, /) -> NDArray[np.uint8]:
        """Make the square that is wanted, of a part of the picture as shown where one is given: [size, size, 3]."""

    def rough(self, content: Any, size: tuple[int, int], /) -> NDArray[np.uint8]:
        """Make a picture of (width, height) for comparisons: uint8 [height, width, 3]."""


class Looked(Source, Protocol):
    """A source whose frames can also be had as FFmpeg has them."""

    def shown(self, content: Any, /) -> tuple[av.VideoFrame, Orientation]:
        """Return a frame, not turned, and how it must be turned."""


def open_for_look(path: Path, *, size: int, max_pixels: int) -> Looked:
    """Open a picture or video for a look at it: always the same backend. Raises InputError."""
    if is_picture(path, _head(path)):
        from pipeline.video.backends.pillow import PictureSource  # Pillow: loaded when the first picture comes

        return PictureSource(path, size=size, max_pixels=max_pixels)
    return PyAVSource(path, size=size, max_pixels=max_pixels)


def open_for_frames(path: Path, *, size: int, max_pixels: int, backend: Backend) -> Source:
    """Open a picture or video to take all its frames, with the backend that is asked for. Raises InputError."""
    if backend == "decord" and not is_picture(path, _head(path)):
        from pipeline.video.backends.decord import DecordSource

        return DecordSource(path, size=size, max_pixels=max_pixels)
    return open_for_look(path, size=size, max_pixels=max_pixels)


class Walk:
    """The squares of one video at its grid points, and the report once they were taken.

    `heed` is called before each frame is used; it may raise to end the walk. Raises InputError (UNREADABLE) where
    `crop` (left, top, width, height as shown) does not lie in the picture. `detector` is shown every frame of a video.
    """

    def __init__(
        self,
        source: Source,
        config: DecodeConfig,
        heed: Callable[[], None],
        *,
        crop: Crop | None = None,
        detector: ShotDetector | None = None,
    ) -> None:
        self._source, self._config, self._heed, self._crop = source, config, heed, crop
        self._detector = detector
        _require_inside(crop, source)
        self._timeline = Timeline(typical_s=source.typical_s, jumps=source.clock_may_jump)
        self._epsilon = epsilon_s(source.tick_s, config.fps)
        self._frames = 0

    def squares(self) -> Iterator[NDArray[np.uint8]]:
        """Yield one square a grid point. Raises InputError TOO_LONG past the limit on duration."""
        fps, most = self._config.fps, self._config.duration_limit_s * self._config.fps
        for shown in on_grid(self._heeded(), self._timeline, fps=fps, epsilon=self._epsilon):
            if self._source.info.is_picture:
                shown = Shown(0, 1, shown.content)
            if shown.first + shown.count > most:
                limit = f"longer than {self._config.duration_limit_s:g} s (duration_limit_s)"
                raise InputError(Reason.TOO_LONG, f"{self._source.path}: {limit}, or its times are broken")
            square = self._source.render(shown.content, self._crop)
            for _ in range(shown.count):
                self._frames += 1
                yield square

    def report(self) -> DecodeReport:
        """Say what came out; call it when `squares` has ended."""
        source, timeline, info = self._source, self._timeline, self._source.info
        promised = grid_count(info.duration_s, self._config.fps, self._epsilon)
        if info.is_picture:
            promised = 1
        shots = self._detector.starts() if self._detector is not None else []
        return DecodeReport(
            frames=self._frames,
            frames_promised=promised if info.is_picture or info.duration_s > 0 else self._frames,
            duration_s=0.0 if info.is_picture else timeline.end_s,
            duration_promised_s=info.duration_s,
            source_frames=timeline.frames,
            corrupt_frames=source.corrupt_frames,
            decode_errors=source.decode_errors,
            passed_over=timeline.passed_over,
            resets=timeline.resets,
            interlaced=source.interlaced or info.interlaced,
            detail=source.detail,
            shots=shots,
            shot_frames=[first_on_grid(time_s, self._config.fps, self._epsilon) for time_s in shots],
        )

    def _heeded(self) -> Iterator[Timed[Any]]:
        timeline = self._timeline
        for frame in self._source.timed_frames():
            self._heed()
            passed_over = timeline.passed_over
            yield frame
            if self._detector is not None and timeline.passed_over == passed_over:  # by now it has its time
                self._detector.see(self._source.rough(frame.content, self._detector.size), timeline.last_s)


def _require_inside(crop: Crop | None, source: Source) -> None:
    if crop is not None:
        left, top, width, height = crop
        info = source.info
        if min(left, top) < 0 or min(width, height) < 1 or left + width > info.width or top + height > info.height:
            raise InputError(
                Reason.UNREADABLE,
                f"{source.path}: the part {width}x{height} at {left},{top} does not lie in a picture of "
                f"{info.width}x{info.height}; survey it again",
            )


def _head(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size:
            with path.open("rb") as f:
                return f.read(_HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise InputError(Reason.MISSING, f"{path}: no such file") from e
    if not stat.S_ISREG(status.st_mode):
        raise InputError(Reason.UNREADABLE, f"{path}: a folder or device, not a file")
    raise InputError(Reason.EMPTY, f"{path}: the file has no bytes")
