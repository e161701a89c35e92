"""Presentation times of packets, computed without decoding."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest

from pipeline.video.packet_clock import PacketClock

MS = Fraction(1, 1000)


def packet(pts: int | None, dts: int | None, duration: int = 40) -> av.Packet:
    made = av.Packet(b"x")
    made.pts, made.dts, made.duration, made.time_base = pts, dts, duration, MS
    return made


def times(packets: list[av.Packet], *, allows_jumps: bool = False) -> tuple[list[float], float]:
    clock = PacketClock(MS, default_duration_s=0.04, allows_jumps=allows_jumps)
    return [clock.place(p).start_s for p in packets], clock.end_s


def test_reordered_frames_are_placed_at_their_presentation_times() -> None:
    found, end_s = times([packet(1080, 1000), packet(1200, 1040), packet(1120, 1080), packet(1160, 1120)])
    assert found == pytest.approx([0, 0.12, 0.04, 0.08])
    assert end_s == pytest.approx(0.16)


def test_packets_without_timestamps_follow_each_other_by_their_durations() -> None:
    found, end_s = times([packet(None, None, 100) for _ in range(3)])
    assert (found, end_s) == (pytest.approx([0, 0.1, 0.2]), pytest.approx(0.3))


def test_a_jump_of_the_clock_is_closed_where_the_format_allows_it() -> None:
    packets = [packet(0, 0), packet(40, 40), packet(90_000, 90_000)]
    assert times(packets, allows_jumps=True)[1] == pytest.approx(0.12)
    assert times(packets)[1] == pytest.approx(90.04)


def test_frames_without_a_duration_last_the_default_duration() -> None:
    assert times([packet(0, 0, 0)])[1] == pytest.approx(0.04)
