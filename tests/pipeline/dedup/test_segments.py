"""Segments of verdicts, and the ranges of time that they cover."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dedup.overlay import overlay
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.segments import merged, range_of, segments
from tests.support.signatures import scene, signature


@pytest.mark.parametrize(
    ("verdicts", "found"),
    [
        ([], []),
        ([-1, 0, -1], []),
        ([1, 1, 1], [(0, 2)]),
        ([1, -1, -1, 1], [(0, 3)]),
        ([1, -1, -1, -1, 1], [(0, 0), (4, 4)]),
        ([0, 0, 1, 0, 0, 0, 1, 0], [(0, 7)]),
        ([-1, 0, 1, -1], [(1, 2)]),
        ([0, 2, 0, 1, 2, 2, 2, 1, 2], [(2, 7)]),
    ],
)
def test_segments_bridge_short_gaps_and_include_undecided_samples(
    verdicts: list[int], found: list[tuple[int, int]]
) -> None:
    assert segments(np.array(verdicts, np.int8)) == found


def test_a_range_ends_where_the_shorter_video_does() -> None:
    one, other = (SampledFrames.of(signature("x", scene(2, seconds))) for seconds in (5.3, 4.2))
    over = overlay(one, other, 0.0)
    assert range_of(one, other, over, 0.0, 0, len(over.sample) - 1) == (0.0, pytest.approx(other.end))
    assert range_of(one, other, over, 0.0, 2, 3) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("ranges", "union"),
    [
        ([], ()),
        ([(5.0, 6.0), (1.0, 2.0)], ((1.0, 2.0), (5.0, 6.0))),
        ([(24.0, 52.0), (26.0, 52.8)], ((24.0, 52.8),)),  # two alignments of one part
        ([(0.0, 9.0), (2.0, 3.0), (9.0, 10.0)], ((0.0, 10.0),)),
    ],
)
def test_overlapping_ranges_count_once(
    ranges: list[tuple[float, float]], union: tuple[tuple[float, float], ...]
) -> None:
    assert merged(ranges) == union
