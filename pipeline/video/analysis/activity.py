"""The activity of a video over time: how many bytes its encoder spent on the frames between key frames.

An encoder spends bytes where the picture changes, whatever the codec, the size, the quality or the frame rate. The
course of these bytes tells recordings apart that look alike (two interviews in one studio), at offsets that need not be
known, and costs nothing: all packets are read anyway. The bitrate of streams is a known fingerprint of their content
(Schuster, Shmatikov and Tromer, "Beauty and the Burst", 2017).

Logarithms are stored, one byte per period of `PERIOD_S`, because quality scales all sizes. An encoder also spends more
or less at a fixed distance from a key frame, so two videos of one encoder would have a rhythm in common: what is common
to all periods at one distance from the key frame before is subtracted.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

PERIOD_S = 0.25
STEPS_PER_OCTAVE = 16
_MAX_PERIODS = 1 << 20  # three days; broken timestamps would need more memory
AROUND_S = 10.0  # on either side of a period, relative to which its level is measured
_MIN_KEY_FRAMES = 4  # before periods at one distance, to tell what they have in common
_PRIOR = 2  # periods at the mean, by which few of them count less


class ActivityMeter:
    """Adds up the bytes of packets by period."""

    def __init__(self) -> None:
        self._bytes, self._packets = array("d"), array("d")
        self._key_frames = array("q")  # the periods in which they are shown

    def add_key_frame(self, time_s: float) -> None:
        """Add a key frame that is shown at `time_s`."""
        period = int(time_s / PERIOD_S)
        if 0 <= period < _MAX_PERIODS:
            self._key_frames.append(period)

    def add(self, time_s: float, size_bytes: int) -> None:
        """Add a packet between key frames, whose frame is shown at `time_s`."""
        period = int(time_s / PERIOD_S)
        if 0 <= period < _MAX_PERIODS:
            missing = period + 1 - len(self._bytes)
            if missing > 0:
                self._bytes.frombytes(bytes(8 * missing))
                self._packets.frombytes(bytes(8 * missing))
            self._bytes[period] += size_bytes
            self._packets[period] += 1

    def levels(self) -> bytes:
        """Return log2 of the mean bytes of a packet by period, in steps of 1 / `STEPS_PER_OCTAVE`.

        Periods without a packet are interpolated. Empty if there is no packet between key frames.
        """
        packets = np.array(self._packets)
        known = np.flatnonzero(packets)
        if not len(known):
            return b""
        octaves = np.log2(1 + np.array(self._bytes)[known] / packets[known])
        levels = np.interp(np.arange(len(packets)), known, octaves)
        levels -= self._common_at_distance(levels)
        return np.clip(np.rint(levels * STEPS_PER_OCTAVE), 0, 255).astype(np.uint8).tobytes()

    def _common_at_distance(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for each of `levels` [n] what the periods at its distance from a key frame have in common: [n]."""
        starts = np.unique(np.array(self._key_frames, np.int64))
        if len(starts) < _MIN_KEY_FRAMES:
            return np.zeros(len(levels))
        periods = np.arange(len(levels))
        distances = periods - starts[np.maximum(0, np.searchsorted(starts, periods, "right") - 1)]
        is_after = distances >= 0
        distances = np.maximum(0, distances)
        relative = levels - mean_around(levels, round(AROUND_S / PERIOD_S))
        counts = np.bincount(distances[is_after], minlength=int(distances.max()) + 1)
        sums = np.bincount(distances[is_after], relative[is_after], len(counts))
        common = np.where(counts >= _MIN_KEY_FRAMES, sums / (counts + _PRIOR), 0.0)
        return np.where(is_after, common[distances], 0.0)


def mean_around(values: NDArray[np.float64], around: int) -> NDArray[np.float64]:
    """Return the mean of each of `values` [n] and of `around` values on either side; fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - around, 0), np.minimum(index + around + 1, len(values))
    found: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return found
