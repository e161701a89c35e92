"""The times at which the analysis samples frames.

A long video is sampled at key frames, which lie elsewhere in each of its encodings. For near-duplicates to have samples
of equal times as well, it is also sampled every `DENSE_S` seconds in bursts, which end at the same times in all videos:
twice in the first minute, then less often. Their interval meets all phases of the usual key frame intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SPARSE_S, DENSE_S, CLIP_S = 2.0, 0.5, 0.25  # between two sampled frames; the last one for short videos
MAX_BURST_S = 8.0
_FIRST_BURSTS_S = (27.0, 58.0)  # their ends
_BURST_INTERVAL_S = 91.0
_EARLY_FRACTION = 0.05  # of the step: key frames are not exactly on time


def burst_end_s(time_s: float) -> float:
    """Return the end of the first burst that ends after `time_s`."""
    first_s, second_s = _FIRST_BURSTS_S
    if time_s < first_s:
        return first_s
    return second_s + max(0, math.floor((time_s - second_s) / _BURST_INTERVAL_S) + 1) * _BURST_INTERVAL_S


@dataclass
class FrameSchedule:
    """Samples one frame in each period of `step_s` seconds."""

    step_s: float
    _next_s: float = 0.0

    def accepts(self, time_s: float) -> bool:
        """Whether to sample the frame shown at `time_s`; call once per frame, in order."""
        early_s = time_s + _EARLY_FRACTION * self.step_s
        if early_s < self._next_s:
            return False
        self._next_s = (early_s // self.step_s + 1) * self.step_s
        return True


class BurstSchedule:
    """Samples one frame in each period of `SPARSE_S`, and of `DENSE_S` during bursts."""

    def __init__(self) -> None:
        self._sparse, self._dense = FrameSchedule(SPARSE_S), FrameSchedule(DENSE_S)

    def accepts(self, time_s: float) -> bool:
        """Whether to sample the frame shown at `time_s`; call once per frame, in order."""
        is_due, is_due_in_burst = self._sparse.accepts(time_s), self._dense.accepts(time_s)
        return is_due or (is_due_in_burst and burst_end_s(time_s) - time_s <= MAX_BURST_S)
