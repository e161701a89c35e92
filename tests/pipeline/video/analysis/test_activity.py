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


def with_key_frames(pattern: np.ndarray, content: np.ndarray, *, key_frame_s: float) -> np.ndarray:
    """Return the levels of a video whose encoder adds `pattern` octaves after each key frame."""
    meter, step = ActivityMeter(), round(key_frame_s / PERIOD_S)
    for period, octaves in enumerate(content):
        if period % step == 0:
            meter.add_key_frame(period * PERIOD_S)
        meter.add(period * PERIOD_S, round(2 ** (10 + octaves + pattern[period % step])))
    return np.frombuffer(meter.levels(), np.uint8).astype(float)


def test_videos_of_one_encoder_have_no_rhythm_of_key_frames_in_common() -> None:
    rng = np.random.default_rng(2)
    pattern = rng.normal(size=8)
    contents = rng.normal(size=(2, 240)) * 0.3
    one, other = (with_key_frames(pattern, content, key_frame_s=2.0) for content in contents)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.15
    again = with_key_frames(np.zeros(12), contents[0], key_frame_s=3.0)
    assert np.corrcoef(one, again)[0, 1] > 0.9


def test_few_key_frames_change_nothing() -> None:
    content = np.random.default_rng(3).normal(size=100)
    kept = with_key_frames(np.zeros(40), content, key_frame_s=10.0)
    assert kept.tolist() == levels([(i * PERIOD_S, round(2 ** (10 + c))) for i, c in enumerate(content)]).tolist()
