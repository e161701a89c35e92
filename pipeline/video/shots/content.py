"""Shots by PySceneDetect's detectors; see `pipeline.video.shots.detector` for how. Imported in the decoder's process
only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, HistogramDetector

from pipeline.video.shots.protocol import Starts

# Tuned on one half of the material of benchmarks/shots.py.
_TIMES_AVERAGE, _LEAST_CHANGE = 3.0, 9.0  # of a cut: over the change around it, and in the levels of 0..255
_HISTOGRAM_CHANGE = 0.07  # 1 - correlation
_DARK = 32  # no pixel is lighter: nothing to see
_GAP_S = 0.32  # between two events of one transition
_EVENTS = 5  # a transition without a cut or darkness has so many
_MOST_PER_S = 31  # frames that are looked at; what changes between two would else depend on the frame rate
_TICKS = 1_000_000  # PySceneDetect counts whole frames of one length: ours last a microsecond


@dataclass
class _Transition:
    first_s: float
    last_s: float
    events: int = 0
    cut_s: float | None = None
    dark_s: tuple[float, float] | None = None
    is_opening: bool = False  # the video begins with it


class ContentDetector:
    """Adaptive and histogram detector side by side, their events joined to transitions."""

    size = (64, 36)

    def __init__(self) -> None:
        cv2.setNumThreads(1)  # a job decodes as many videos at once as there are cores
        self._adaptive = AdaptiveDetector(_TIMES_AVERAGE, min_scene_len=0, min_content_val=_LEAST_CHANGE)
        self._histogram = HistogramDetector(_HISTOGRAM_CHANGE, min_scene_len=0)
        self._clock = FrameTimecode(0, fps=Fraction(_TICKS))
        self._starts = Starts()
        self._current: _Transition | None = None
        self._seen_s: float | None = None

    def see(self, picture: NDArray[np.uint8], time_s: float) -> None:
        """Take the next frame, uint8 RGB [36, 64, 3]."""
        if self._seen_s is not None and (time_s - self._seen_s) * _MOST_PER_S < 1:
            return
        is_first, self._seen_s = self._seen_s is None, time_s
        if self._current is not None and time_s - self._current.last_s > _GAP_S:
            self._end()
        now = FrameTimecode(round(time_s * _TICKS), fps=self._clock)
        bgr = np.ascontiguousarray(picture[..., ::-1])
        for at in self._adaptive.process_frame(now, bgr):
            event = self._event(at.frame_num / _TICKS)
            event.cut_s = at.frame_num / _TICKS if event.cut_s is None else event.cut_s
        if self._histogram.process_frame(now, bgr):
            self._event(time_s)
        if picture.max() < _DARK:
            event = self._event(time_s)
            event.dark_s = (event.dark_s or (time_s, time_s))[0], time_s
            event.is_opening |= is_first

    def starts(self) -> list[float]:
        """Return when shots begin."""
        if self._current is not None and not (self._current.dark_s and self._current.last_s == self._seen_s):
            self._end()  # else the video ends in darkness, which is no new shot
        return self._starts.times_s

    def _event(self, time_s: float) -> _Transition:
        if self._current is None:
            self._current = _Transition(time_s, time_s)
        self._current.events += 1
        self._current.last_s = max(self._current.last_s, time_s)
        return self._current

    def _end(self) -> None:
        transition, self._current = self._current, None
        if transition is None or transition.is_opening:
            return
        if transition.dark_s is not None:
            self._starts.add(sum(transition.dark_s) / 2)
        elif transition.cut_s is not None:
            self._starts.add(transition.cut_s)
        elif transition.events >= _EVENTS:
            self._starts.add((transition.first_s + transition.last_s) / 2)
