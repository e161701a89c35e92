"""TODO."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


class ShotDetector(Protocol):
    """Sees the frames of one video. `size` is the (width, height) that it wants them in."""

    size: tuple[int, int]

    def see(self, picture: Picture, time_s: float) -> None:
        """Take the next frame, uint8 RGB [height, width, 3], and its time in seconds from the start."""

    def starts(self) -> list[float]:
        """Return when shots begin, in order; the first at 0. To be called once, when all frames were seen."""


class Starts:
    """Collects when shots begin: the first at 0, each at least `shortest_s` long but for the last."""

    def __init__(self, shortest_s: float = 0.6) -> None:
        self.times_s = [0.0]
        self._shortest_s = shortest_s

    def add(self, time_s: float) -> None:
        """Take the begin of a shot, unless the one before it is too short; times come in order."""
        if time_s - self.times_s[-1] >= self._shortest_s:
            self.times_s.append(time_s)
