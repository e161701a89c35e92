"""The presentation times of packets in decoding order, on a clock that starts at 0; without decoding.

Decoding times ascend, so jumps and gaps of a file's clock are closed on them (`Timeline`); a frame is presented with
some delay after it is decoded. Packets without timestamps, as in bare streams, follow each other by their durations.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import av

from pipeline.video.time_grid import Timeline


class PlacedPacket(NamedTuple):
    """The time during which the frame of a packet is shown, in seconds from the first packet's."""

    start_s: float
    end_s: float


class PacketClock:
    """Places packets in time; `end_s` is the end of the last frame, from the start of the first."""

    def __init__(self, time_base: Fraction | None, *, default_duration_s: float, allows_jumps: bool) -> None:
        self._tick_s = float(time_base or Fraction(1, av.time_base))
        self._decoding_times = Timeline(default_duration_s, allows_jumps=allows_jumps)
        self._first_delay_s: float | None = None
        self.end_s = 0.0

    def place(self, packet: av.Packet) -> PlacedPacket:
        """Return the time of the next packet's frame."""
        duration_s = (packet.duration or 0) * self._tick_s
        ticks = packet.pts if packet.dts is None else packet.dts
        placed_s = self._decoding_times.place(None if ticks is None else ticks * self._tick_s, duration_s)
        if placed_s is None:
            placed_s = self._decoding_times.last_s
        delay_s = 0.0 if packet.pts is None or ticks is None else (packet.pts - ticks) * self._tick_s
        if self._first_delay_s is None:
            self._first_delay_s = delay_s
        time_s = max(0.0, placed_s + delay_s - self._first_delay_s)
        placed = PlacedPacket(time_s, time_s + (duration_s or self._decoding_times.default_duration_s))
        self.end_s = max(self.end_s, placed.end_s)
        return placed
