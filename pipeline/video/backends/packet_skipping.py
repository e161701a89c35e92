"""Finds the packets of a video whose frames are shown at no grid point and to which no other frame refers.

Such packets need not be decoded, and the frames that are decoded stay the same. That a frame is not shown follows from
the presentation times of the packets: a frame is shown until the next one in presentation order. As packets come in
decoding order, a few are read ahead until that time is certain: no later packet is presented before it is decoded.

Which frames are referred to is known to the decoder (H.264, HEVC: a flag in the packet), or nothing refers to another
frame at all (codecs like ProRes). Files whose timestamps are missing or run backwards are decoded completely, and so
are interlaced ones, where a packet may hold one field.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import av

_CONTAINERS = ("mov", "matroska")  # they have reliable presentation times
_FLAGGED = {"h264", "hevc"}
_AHEAD = 32  # packets; twice the longest reordering of H.264 and HEVC
_REMEMBERED = 4 * _AHEAD


class PacketToDecode(NamedTuple):
    """A packet, and the presentation time of the frame after its own in ticks; None where that is not certain."""

    packet: av.Packet
    next_pts: int | None


def has_reliable_times(container_format: str) -> bool:
    """Whether packets of this format of FFmpeg have presentation times that can be trusted."""
    return container_format.startswith(_CONTAINERS)


def flags_unreferenced_frames(codec: av.Codec) -> bool:
    """Whether FFmpeg's decoder skips unreferenced frames if `skip_frame` is NONREF."""
    return codec.name in _FLAGGED


def with_next_times(packets: Iterator[av.Packet]) -> Iterator[PacketToDecode]:
    """Yield the packets in the order given, each with the time at which its frame ceases to be shown."""
    times = _PresentationTimes()
    waiting: deque[av.Packet] = deque()
    for packet in packets:
        waiting.append(packet)
        times.add(packet)
        while waiting and (len(waiting) > _AHEAD or times.is_certain_after(waiting[0])):
            first = waiting.popleft()
            yield PacketToDecode(first, times.after(first))
    times.end()
    while waiting:
        first = waiting.popleft()
        yield PacketToDecode(first, times.after(first))


class _PresentationTimes:
    """The presentation times of the packets read so far, ascending, in ticks."""

    def __init__(self) -> None:
        self._ticks: list[int] = []
        self._last_dts: int | None = None
        self._are_reliable, self._have_ended = True, False

    def add(self, packet: av.Packet) -> None:
        """Take note of the next packet in decoding order."""
        if packet.size == 0:  # the request to output the last frames
            return
        pts, dts = packet.pts, packet.dts
        runs_back = dts is not None and self._last_dts is not None and dts <= self._last_dts
        if pts is None or dts is None or pts < dts or runs_back:
            self._are_reliable = False
            return
        self._last_dts = dts
        if not packet.is_discard:
            insort(self._ticks, pts)
            del self._ticks[:-_REMEMBERED]

    def end(self) -> None:
        """No packet follows."""
        self._have_ended = True

    def is_certain_after(self, packet: av.Packet) -> bool:
        """Whether no later packet can change what `after` returns."""
        if not self._are_reliable or packet.pts is None or packet.is_discard:
            return True
        following = self._following(packet.pts)
        return following is not None and self._last_dts is not None and self._last_dts >= following

    def after(self, packet: av.Packet) -> int | None:
        """Return the first presentation time after that of `packet`; None if it is not certain or there is none."""
        if packet.pts is None or packet.is_discard or not self._are_reliable:
            return None
        if not (self._have_ended or self.is_certain_after(packet)):
            return None
        return self._following(packet.pts)

    def _following(self, pts: int) -> int | None:
        at = bisect_right(self._ticks, pts)
        return self._ticks[at] if at < len(self._ticks) else None
