"""The protocols that decoder backends implement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.video.geometry import Crop, Orientation
from pipeline.video.time_grid import TimedFrame
from pipeline.video.types import VideoInfo

IsShown = Callable[[float, float], bool]
"""Whether a frame that is displayed from one time to another, in seconds from the first frame, is needed."""


class FrameSource(Protocol):
    """One open video, a context manager.

    `timed_frames` yields every frame with an opaque `content`, which only the same source understands. A frame is
    rendered before the next one is taken from the iterator.
    """

    path: Path
    info: VideoInfo
    decode_errors: int  # packets without a frame so far
    corrupt_frames: int  # frames with concealed errors so far
    interlaced: bool
    detail: str  # description of the first error

    @property
    def tick_s(self) -> float:
        """Resolution of the file's timestamps in seconds."""

    @property
    def default_duration_s(self) -> float:
        """Duration of a frame that has none in the file."""

    @property
    def allows_jumps(self) -> bool:
        """Whether the format allows discontinuities in its timestamps."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

    def timed_frames(self, is_shown: IsShown | None = None) -> Iterator[TimedFrame[Any]]:
        """Yield every frame with its time, in presentation order. Call once.

        The content of a frame for which `is_shown` is False may be that of an earlier frame.
        """

    def render(self, content: Any, crop: Crop | None = None, /) -> NDArray[np.uint8]:
        """Return the center crop of a frame, or of the part `crop` (displayed pixels): uint8 RGB [size, size, 3]."""

    def thumbnail(self, content: Any, size: tuple[int, int], /) -> NDArray[np.uint8]:
        """Return a whole frame scaled to (width, height), not rotated: uint8 RGB [height, width, 3]."""


class AnalysisSource(FrameSource, Protocol):
    """A source that also gives access to whole FFmpeg frames, for video analysis."""

    def oriented_frame(self, content: Any, /) -> tuple[av.VideoFrame, Orientation]:
        """Return a frame as coded, and the orientation in which it is displayed."""
