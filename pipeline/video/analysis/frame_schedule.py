"""The times at which the analysis samples frames."""

from __future__ import annotations

from dataclasses import dataclass

SPARSE_S, DENSE_S = 2.0, 0.5  # between two sampled frames
PAIR_S = 0.5  # between the frames of a pair, which shows motion
_PAIR_INTERVAL_S = 30.0
_EARLY_FRACTION = 0.05  # of the step: key frames are not exactly on time


@dataclass
class FrameSchedule:
    """Samples a frame every `step_s`; with a sparse step, a second frame follows shortly after, twice a minute."""

    step_s: float
    _next_s: float = 0.0
    _next_pair_s: float = 0.0
    _second_s: float | None = None

    def accepts(self, time_s: float) -> bool:
        """Whether to sample the frame shown at `time_s`; call once per frame, in order."""
        if self._second_s is not None and time_s >= self._second_s:
            self._second_s = None
            return True
        early_s = time_s + _EARLY_FRACTION * self.step_s
        if early_s < self._next_s:
            return False
        self._next_s = (early_s // self.step_s + 1) * self.step_s
        if self.step_s > PAIR_S and time_s >= self._next_pair_s:
            self._next_pair_s = time_s + _PAIR_INTERVAL_S
            self._second_s = time_s + PAIR_S
        return True

    @property
    def expects_second(self) -> bool:
        """Whether the last accepted frame is the first of a pair."""
        return self._second_s is not None
