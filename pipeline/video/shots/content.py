"""Shot detection from the content of frames, with two detectors of PySceneDetect.

The adaptive detector fires at cuts: frames that differ from the previous one much more than their neighbors do. The
histogram detector, set sensitive, fires at most frames of a fade or dissolve and seldom twice elsewhere. Events that
follow each other closely are one transition, and so are frames too dark to show anything. The new shot starts in the
middle of the dark frames, otherwise at the cut, otherwise in the middle of the transition. A single histogram event is
a flash or something that passes the camera, and is ignored.

Cost (benchmarks/shots.py): 0.4 ms per frame at 360p and 0.8 ms at 720p, with the scaling to 64x36 pixels; a quarter to
a half of decoding. At most 31 frames per second are processed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, HistogramDetector

from pipeline.video.shots.protocol import ShotStarts

# Tuned on one half of the material of benchmarks/shots.py.
_ADAPTIVE_THRESHOLD, _MIN_CONTENT_CHANGE = 3.0, 9.0  # ratio to the surrounding change; levels of 0..255
_HISTOGRAM_THRESHOLD = 0.07  # 1 - correlation
_DARK_LEVEL = 32  # a frame without a lighter pixel is dark
_MAX_GAP_S = 0.32  # between two events of one transition
_MIN_EVENTS = 5  # of a transition without a cut and without dark frames
_MAX_FPS = 31  # otherwise the change from frame to frame would depend on the frame rate
_TICKS_PER_S = 1_000_000  # PySceneDetect counts whole frames of one length: its "frames" are microseconds here


@dataclass
class _Transition:
    first_s: float
    last_s: float
    events: int = 0
    cut_s: float | None = None
    dark_s: tuple[float, float] | None = None
    is_opening: bool = False  # the video starts with it


class ContentDetector:
    """Runs the adaptive and the histogram detector and joins their events to transitions."""

    size = (64, 36)

    def __init__(self) -> None:
        cv2.setNumThreads(1)  # a job decodes as many videos at once as there are cores
        self._adaptive = AdaptiveDetector(_ADAPTIVE_THRESHOLD, min_scene_len=0, min_content_val=_MIN_CONTENT_CHANGE)
        self._histogram = HistogramDetector(_HISTOGRAM_THRESHOLD, min_scene_len=0)
        self._clock = FrameTimecode(0, fps=Fraction(_TICKS_PER_S))
        self._starts = ShotStarts()
        self._current: _Transition | None = None
        self._last_s: float | None = None

    def add(self, picture: NDArray[np.uint8], time_s: float) -> None:
        """Process the next frame, uint8 RGB [36, 64, 3]."""
        if self._last_s is not None and (time_s - self._last_s) * _MAX_FPS < 1:
            return
        is_first, self._last_s = self._last_s is None, time_s
        if self._current is not None and time_s - self._current.last_s > _MAX_GAP_S:
            self._end_transition()
        now = FrameTimecode(round(time_s * _TICKS_PER_S), fps=self._clock)
        bgr = np.ascontiguousarray(picture[..., ::-1])
        for cut in self._adaptive.process_frame(now, bgr):
            event = self._add_event(cut.frame_num / _TICKS_PER_S)
            event.cut_s = cut.frame_num / _TICKS_PER_S if event.cut_s is None else event.cut_s
        if self._histogram.process_frame(now, bgr):
            self._add_event(time_s)
        if picture.max() < _DARK_LEVEL:
            event = self._add_event(time_s)
            event.dark_s = (event.dark_s or (time_s, time_s))[0], time_s
            event.is_opening |= is_first

    def starts(self) -> list[float]:
        """Return the start time of each shot."""
        # A video that ends dark has no new shot there.
        if self._current is not None and not (self._current.dark_s and self._current.last_s == self._last_s):
            self._end_transition()
        return self._starts.times_s

    def _add_event(self, time_s: float) -> _Transition:
        if self._current is None:
            self._current = _Transition(time_s, time_s)
        self._current.events += 1
        self._current.last_s = max(self._current.last_s, time_s)
        return self._current

    def _end_transition(self) -> None:
        transition, self._current = self._current, None
        if transition is None or transition.is_opening:
            return
        if transition.dark_s is not None:
            self._starts.add(sum(transition.dark_s) / 2)
        elif transition.cut_s is not None:
            self._starts.add(transition.cut_s)
        elif transition.events >= _MIN_EVENTS:
            self._starts.add((transition.first_s + transition.last_s) / 2)
