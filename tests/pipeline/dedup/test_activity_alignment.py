"""Courses of activity: offsets, significance, and correlations over time, each against a direct computation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.dedup.activity_alignment import correlation, course, likely_offsets, local_correlation, stands_out
from pipeline.video.analysis.activity import PERIOD_S, STEPS_PER_OCTAVE

Floats = NDArray[np.float64]


def random_course(seed: int, seconds: float) -> Floats:
    """Return a course that changes within about a second."""
    values = np.random.default_rng(seed).normal(size=round(seconds / PERIOD_S) + 3)
    return np.convolve(values, np.ones(4) / 2, "valid")


def test_a_course_is_relative_to_the_time_around() -> None:
    values = random_course(1, 100)
    drift = np.linspace(0, 4, len(values))
    levels = [np.clip((6 + v) * STEPS_PER_OCTAVE, 0, 255).astype(np.uint8).tobytes() for v in (values, values + drift)]
    one, other = (course(given) for given in levels)
    assert one is not None
    assert other is not None
    assert np.corrcoef(one, other)[0, 1] > 0.99


def test_a_short_or_constant_video_has_no_course() -> None:
    assert course(b"") is None
    assert course(bytes(range(79))) is None
    assert course(bytes([90]) * 1000) is None


@pytest.mark.parametrize("offset", [-31.5, 0.0, 12.25])
def test_the_first_of_the_likely_offsets_is_the_true_one(offset: float) -> None:
    whole, rng = random_course(2, 200), np.random.default_rng(3)
    shift = round(abs(offset) / PERIOD_S)
    one, other = (whole[shift:], whole) if offset > 0 else (whole, whole[shift:])
    noisy = other + rng.normal(size=len(other))
    assert likely_offsets(one, noisy, count=3)[0] == offset


def test_the_likely_offsets_agree_with_a_direct_search() -> None:
    one, other = random_course(4, 40), random_course(5, 60)
    scores = {}
    for shift in range(-len(one) + 1, len(other)):
        first, last = max(0, -shift), min(len(one), len(other) - shift)
        x, y = one[first:last], other[first + shift : last + shift]
        if (last - first) * PERIOD_S >= 20:
            scores[shift * PERIOD_S] = x @ y / np.sqrt((x @ x) * (y @ y)) * np.sqrt(last - first)
    found = likely_offsets(one, other, count=3)
    assert found[0] == max(scores, key=lambda offset: scores[offset])
    assert min(abs(a - b) for a in found for b in found if a != b) >= 2


def test_only_a_common_course_is_significant() -> None:
    one = random_course(6, 120)
    same = one + np.random.default_rng(7).normal(size=len(one))
    assert correlation(one, same, 0.0, start_s=0, end_s=120).significance > 6
    chance = [correlation(one, random_course(seed, 120), 0.0, start_s=0, end_s=120) for seed in range(100, 300)]
    deviations = np.array([found.significance for found in chance])
    assert deviations.std() == pytest.approx(1, abs=0.25)
    assert correlation(one, same, 0.0, start_s=0, end_s=10) == (0, 0)


def test_the_local_correlation_agrees_with_a_direct_computation() -> None:
    one, other = random_course(8, 60), random_course(9, 60)
    times = np.array([-1.0, 5.0, 20.0, 59.9, 70.0])
    found = local_correlation(one, other, 4.0, times)
    assert np.isnan(found).tolist() == [True, False, False, True, True]
    x, y = one[: len(one) - 16], other[16:]
    for time_s, value in zip(times[1:3], found[1:3], strict=True):
        index = round(time_s / PERIOD_S)
        part = slice(max(0, index - 32), index + 33)
        assert value == pytest.approx(np.corrcoef(x[part], y[part])[0, 1], abs=1e-6)


def test_the_offset_of_a_copy_stands_out_and_those_of_chance_do_not() -> None:
    one = random_course(10, 120)
    copy = one[40:] + 0.5 * np.random.default_rng(11).normal(size=len(one) - 40)
    assert stands_out(one, copy, -10.0)
    assert not stands_out(one, copy, 30.0)
    chance = random_course(12, 120)
    assert not stands_out(one, chance, likely_offsets(one, chance, count=1)[0])
    assert not stands_out(one, None, 0.0)


def test_no_offset_of_a_common_rhythm_stands_out() -> None:
    rng = np.random.default_rng(13)
    beat = np.tile(np.concatenate([[4.0], np.zeros(39)]), 12)  # every ten seconds
    one, other = (beat + 0.3 * rng.normal(size=len(beat)) for _ in range(2))
    offset = likely_offsets(one, other, count=1)[0]
    assert correlation(one, other, offset, start_s=0, end_s=120).significance > 4.5
    assert not stands_out(one, other, offset)
