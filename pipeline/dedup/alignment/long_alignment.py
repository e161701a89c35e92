"""The ranges in which two sparsely sampled videos agree, by the course of their activity and by their pictures.

Key frames of two encodings show different moments. Most sampled frames can therefore not be compared closely, and where
little moves even frames of other recordings resemble each other. The activity decides where a range may be: its
correlation must be significant. Chance, or a rhythm that two videos have in common, can make it so. Therefore pictures
of nearly the same time must agree as well, and so must what changes in them: their difference to the mean of the range.
Two recordings in one studio agree in the first and not in the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.activity_alignment import correlation, likely_offsets, local_correlation, stands_out
from pipeline.dedup.correlation import SAME_MOMENT_S, compare_pictures
from pipeline.dedup.overlay import Overlay, overlay
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.segments import AGREES, DISAGREES, UNDECIDED, Alignment, lay_over, range_of, segments

_OFFSETS = 3  # that are tried
_MIN_MOMENTS = 2  # at which there are pictures to compare


@dataclass(frozen=True, kw_only=True)
class ActivityThresholds:
    """From which correlations on two sparsely sampled videos agree."""

    min_significance: float = 4.5  # of the activity within a range, in standard deviations of chance
    min_range_value: float = 0.4  # of the activity within a range
    min_value: float = 0.3  # of the activity around a sample that agrees
    max_unrelated: float = 0.1  # of the activity around a sample, up to which it disagrees
    min_correlation: float = 0.75  # of frames that show the same moment; also the median within a range
    min_same_correlation: float = 0.97  # of frames that agree whatever the activity


def best_long_alignment(one: SampledFrames, other: SampledFrames, thresholds: ActivityThresholds) -> Alignment | None:
    """Return the alignment of the largest score over the likely offsets, or None if no range agrees."""
    if one.course is None or other.course is None:
        return None
    offsets = likely_offsets(one.course, other.course, count=_OFFSETS)
    found = [align_long(one, other, offset, thresholds) for offset in offsets]
    return max((alignment for alignment in found if alignment), key=lambda a: a.score, default=None)


def align_long(
    one: SampledFrames, other: SampledFrames, offset: float, thresholds: ActivityThresholds
) -> Alignment | None:
    """Return the ranges that agree at one offset, or None."""
    return lay_over(one, other, offset, partial(_align_coarse, thresholds=thresholds))


def _align_coarse(
    one: SampledFrames, other: SampledFrames, offset: float, thresholds: ActivityThresholds
) -> Alignment | None:
    assert one.course is not None
    assert other.course is not None
    over = overlay(one, other, offset)
    if not len(over.sample):
        return None
    activity = local_correlation(one.course, other.course, offset, one.starts[over.sample])
    is_certain = stands_out(one.course, other.course, offset)
    ranges, score, similarities = [], 0.0, []
    for first, last in segments(_verdicts(over, activity, thresholds)):
        found = range_of(one, other, over, offset, first, last)
        value, significance = correlation(one.course, other.course, offset, start_s=found[0], end_s=found[1])
        if value < thresholds.min_range_value or significance < thresholds.min_significance:
            continue
        pictures = compare_pictures(one, other, offset, found)
        if pictures.moments >= _MIN_MOMENTS and pictures.is_sufficient(is_certain=is_certain):
            ranges.append(found)
            score += value * (found[1] - found[0])
            similarities.append(pictures.similarity)
    if not ranges:
        return None
    ranges_b = tuple((start + offset, end + offset) for start, end in ranges)
    return Alignment(offset, score, float(np.mean(similarities)), tuple(ranges), ranges_b)


def _verdicts(over: Overlay, activity: NDArray[np.float64], thresholds: ActivityThresholds) -> NDArray[np.int8]:
    """Return for each sample of an overlay whether it agrees, disagrees, or is undecided."""
    pictures = np.einsum("nc,nc->n", over.one, over.other)
    is_compared = over.is_distinctive & (over.distance_s <= SAME_MOMENT_S)
    differs = is_compared & (pictures < thresholds.min_correlation)
    unrelated = (activity <= thresholds.max_unrelated) & (pictures < thresholds.min_same_correlation) & ~over.is_blank
    verdicts = np.where(differs | unrelated, DISAGREES, UNDECIDED).astype(np.int8)
    verdicts[(activity >= thresholds.min_value) & ~differs] = AGREES
    return verdicts
