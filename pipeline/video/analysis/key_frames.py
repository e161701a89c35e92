"""Samples a long video at its key frames, and in bursts from a key frame up to a fixed time.

Packets from a key frame to the end of a burst are held until the burst can be decoded, at most `_MAX_PACKETS`. Where
key frames are farther apart, and before `bursts_from_s`, the half second after the next key frame replaces the burst,
because it shows motion.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import av

from pipeline.video.analysis.frame_schedule import DENSE_S, MAX_BURST_S, SPARSE_S, FrameSchedule, burst_end_s
from pipeline.video.analysis.summary import FrameSummary
from pipeline.video.backends.pyav import orientation

_MAX_PACKETS, _MAX_BYTES = 320, 32 << 20  # held for a burst
_MIN_BURST_S = DENSE_S

_Held = tuple[av.Packet, float]  # with the time in seconds at which its frame is shown


class KeyFrameSampler:
    """Adds sampled frames to a summary. Give it every packet of the stream, in order, then call `finish`."""

    def __init__(self, context: av.VideoCodecContext, summary: FrameSummary, *, bursts_from_s: float) -> None:
        self._context, self._summary, self._bursts_from_s = context, summary, bursts_from_s
        self._schedule = FrameSchedule(SPARSE_S)
        self._held: list[_Held] = []  # the last key frame, and what follows it if it starts a burst
        self._held_bytes = 0
        self._next_end_s = 0.0  # of the next burst; the first one is short and at the start
        self._end_s: float | None = None  # of the burst that the held key frame starts

    def add(self, packet: av.Packet, time_s: float) -> None:
        """Add a packet whose frame is shown at `time_s`."""
        is_better_start = self._end_s is None or time_s <= self._next_end_s
        if packet.is_keyframe and is_better_start:
            self.finish()
            self._start(packet, time_s)
        elif self._held:
            self._hold(packet, time_s)

    def finish(self) -> None:
        """Sample the key frame that is held, and end its burst."""
        if self._held and self._schedule.accepts(self._held[0][1]):
            for frame, time_s in self._decode(self._held[:1]):
                self._summary.add(frame, orientation(frame), time_s)
        self._held, self._end_s = [], None

    def _start(self, packet: av.Packet, time_s: float) -> None:
        self._held, self._held_bytes = [(packet, time_s)], packet.size
        if time_s >= self._next_end_s:  # the burst was missed
            self._end_s = time_s + _MIN_BURST_S
        elif time_s >= self._bursts_from_s and self._next_end_s - time_s <= MAX_BURST_S:
            self._end_s = max(self._next_end_s, time_s + _MIN_BURST_S)

    def _hold(self, packet: av.Packet, time_s: float) -> None:
        self._held_bytes += packet.size
        if self._end_s is None or len(self._held) == _MAX_PACKETS or self._held_bytes > _MAX_BYTES:
            self.finish()
            return
        self._held.append((packet, time_s))
        if time_s >= self._end_s:
            self._finish_burst(time_s)

    def _finish_burst(self, time_s: float) -> None:
        dense = FrameSchedule(DENSE_S)
        self._context.skip_frame = "NONREF"  # half the time, and a tenth of a second between frames is enough
        for frame, shown_s in self._decode(self._held):
            if dense.accepts(shown_s):
                self._summary.add(frame, orientation(frame), shown_s)
        self._context.skip_frame = "DEFAULT"
        self._schedule.accepts(time_s)
        self._held, self._end_s = [], None
        self._next_end_s = burst_end_s(time_s)

    def _decode(self, held: list[_Held]) -> Iterator[tuple[av.VideoFrame, float]]:
        """Yield the frames of packets that start with a key frame, in the order they are shown. Ignores damage."""
        (key_frame, start_s), last_s = held[0], -1.0
        times_s = {_ticks(packet): time_s for packet, time_s in held}
        for packet in [*(packet for packet, _ in held), None]:
            with contextlib.suppress(av.FFmpegError):
                for frame in self._context.decode(packet):
                    time_s = times_s.get(_ticks(frame))
                    if frame.pts is not None and key_frame.pts is not None:
                        later_s = float((frame.pts - key_frame.pts) * key_frame.time_base)
                        if later_s < 0:
                            continue  # predicted from frames that were not decoded
                        # More exact than the time of a packet, but not across a jump of the timestamps.
                        time_s = start_s + later_s if later_s <= 2 * MAX_BURST_S else time_s
                    if time_s is not None and time_s > last_s:
                        yield frame, time_s
                        last_s = time_s
        self._context.flush_buffers()


def _ticks(timed: av.Packet | av.VideoFrame) -> int | None:
    return timed.dts if timed.pts is None else timed.pts
