"""The activity of a video over time: how many bytes its encoder spent on the frames between key frames.

An encoder spends bytes where the picture changes, whatever the codec, the size, the quality or the frame rate. The
course of these bytes tells recordings apart that look alike (two interviews in one studio), at offsets that need not be
known, and costs nothing: all packets are read anyway. The bitrate of streams is a known fingerprint of their content
(Schuster, Shmatikov and Tromer, "Beauty and the Burst", 2017).

Logarithms are stored, one byte per period of `PERIOD_S`, because quality scales all sizes.
"""

from __future__ import annotations

from array import array

import numpy as np

PERIOD_S = 0.25
STEPS_PER_OCTAVE = 16
_MAX_PERIODS = 1 << 20  # three days; broken timestamps would need more memory


class ActivityMeter:
    """Adds up the bytes of packets by period."""

    def __init__(self) -> None:
        self._bytes, self._packets = array("d"), array("d")

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
        levels = np.interp(np.arange(len(packets)), known, octaves) * STEPS_PER_OCTAVE
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8).tobytes()
