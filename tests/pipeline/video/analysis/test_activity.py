"""The course of bytes over time: what it keeps of the packets, and that two encodings have the same one."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.video.analysis.activity import PERIOD_S, STEPS_PER_OCTAVE, ActivityMeter


def levels(packets: list[tuple[float, int]]) -> np.ndarray:
    meter = ActivityMeter()
    for time_s, size in packets:
        meter.add(time_s, size)
    return np.frombuffer(meter.levels(), np.uint8)


def test_a_level_is_the_logarithm_of_the_mean_size_of_a_packet() -> None:
    found = levels([(0.0, 127), (0.1, 127), (PERIOD_S, 255), (PERIOD_S + 0.1, 767)])
    assert found.tolist() == [7 * STEPS_PER_OCTAVE, 9 * STEPS_PER_OCTAVE]


def test_packets_may_come_in_decoding_order() -> None:
    packets = [(time_s, 100 * number) for number, time_s in enumerate(np.arange(0, 5, 0.04))]
    shuffled = [packets[i] for i in np.random.default_rng(0).permutation(len(packets))]
    assert levels(shuffled).tolist() == levels(packets).tolist()


def test_periods_without_a_packet_are_interpolated() -> None:
    assert levels([(0.0, 255), (4 * PERIOD_S, 4095)]).tolist() == [128, 144, 160, 176, 192]


def test_times_out_of_range_are_ignored() -> None:
    assert levels([(-1.0, 9), (1e12, 9)]).size == 0
    assert levels([]).size == 0


def test_huge_packets_stay_within_a_byte() -> None:
    assert levels([(0.0, 1 << 40)]).tolist() == [255]


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_another_quality_moves_all_levels_alike(scale: float) -> None:
    sizes = np.random.default_rng(1).integers(500, 5000, 40)
    times = np.arange(40) * PERIOD_S
    one, other = (levels(list(zip(times, (sizes * s).astype(int), strict=True))) for s in (1.0, scale))
    assert np.ptp(other.astype(int) - one) <= 1
