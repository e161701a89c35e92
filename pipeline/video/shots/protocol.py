"""The protocol of shot detectors, and the list of shot starts that they build."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


class ShotDetector(Protocol):
    """Receives the frames of one video in order. `size` is the (width, height) of the frames that it takes."""

    size: tuple[int, int]

    def add(self, picture: Picture, time_s: float) -> None:
        """Process the next frame, uint8 RGB [height, width, 3], shown `time_s` seconds from the start."""

    def starts(self) -> list[float]:
        """Return the start time of each shot, ascending, the first at 0. Call once, after the last frame."""


class ShotStarts:
    """Collects shot starts. The first is 0; a shot is at least `min_length_s` long, except for the last."""

    def __init__(self, min_length_s: float = 0.6) -> None:
        self.times_s = [0.0]
        self._min_length_s = min_length_s

    def add(self, time_s: float) -> None:
        """Add a start, unless the previous shot would be too short; call in order of time."""
        if time_s - self.times_s[-1] >= self._min_length_s:
            self.times_s.append(time_s)
