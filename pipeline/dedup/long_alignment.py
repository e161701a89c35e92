"""The ranges in which two sparsely sampled videos agree, by the course of their activity and by their pictures.

Key frames of two encodings show different moments. Most sampled frames can therefore not be compared closely, and where
little moves even frames of other recordings resemble each other. The activity decides instead: its correlation must be
significant over a range. Pictures must agree where both videos have a sample of nearly the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.activity_alignment import correlation, likely_offsets, local_correlation
from pipeline.dedup.overlay import Overlay, overlay
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.segments import AGREES, DISAGREES, UNDECIDED, Alignment, lay_over, range_of, segments

_OFFSETS = 3  # that are tried
_STEP_S = 0.125  # by which the best one is refined
_SAME_MOMENT_S = 0.3  # between two samples that are compared
_MIN_COMPARED = 3  # samples of a range: those of the nearest moments, if there are fewer of the same


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
    best = max((alignment for alignment in found if alignment), key=lambda a: a.score, default=None)
    if best is None:
        return None
    near = [align_long(one, other, best.offset + step, thresholds) for step in (-_STEP_S, _STEP_S)]
    return max((alignment for alignment in (best, *near) if alignment), key=lambda a: a.similarity)


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
    pictures = np.einsum("nc,nc->n", over.one, over.other)
    activity = local_correlation(one.course, other.course, offset, one.starts[over.sample])
    compared = over.is_distinctive & (over.distance_s <= _SAME_MOMENT_S)
    verdicts = _verdicts(over, pictures, activity, compared, thresholds)
    ranges, score, similarities = [], 0.0, []
    for first, last in segments(verdicts):
        found = range_of(one, other, over, offset, first, last)
        value, significance = correlation(one.course, other.course, offset, start_s=found[0], end_s=found[1])
        similarity = _similarity(over, pictures, first, last)
        if (
            value >= thresholds.min_range_value
            and significance >= thresholds.min_significance
            and similarity >= thresholds.min_correlation
        ):
            ranges.append(found)
            score += value * (found[1] - found[0])
            similarities.append(similarity)
    if not ranges:
        return None
    ranges_b = tuple((start + offset, end + offset) for start, end in ranges)
    return Alignment(offset, score, float(np.mean(similarities)), tuple(ranges), ranges_b)


def _similarity(over: Overlay, pictures: NDArray[np.float32], first: int, last: int) -> float:
    """Return the median correlation of the samples from `first` to `last` that show the same moment, or nearly so."""
    inside = first + np.flatnonzero(over.is_distinctive[first : last + 1])
    nearest = inside[np.argsort(over.distance_s[inside], kind="stable")]
    count = max(_MIN_COMPARED, int(np.sum(over.distance_s[nearest] <= _SAME_MOMENT_S)))
    return float(np.median(pictures[nearest[:count]])) if len(nearest) else 0.0


def _verdicts(
    over: Overlay,
    pictures: NDArray[np.float32],
    activity: NDArray[np.float64],
    compared: NDArray[np.bool_],
    thresholds: ActivityThresholds,
) -> NDArray[np.int8]:
    """Return for each sample of an overlay whether it agrees, disagrees, or is undecided."""
    differs = compared & (pictures < thresholds.min_correlation)
    unrelated = (activity <= thresholds.max_unrelated) & (pictures < thresholds.min_same_correlation) & ~over.is_blank
    verdicts = np.where(differs | unrelated, DISAGREES, UNDECIDED).astype(np.int8)
    verdicts[(activity >= thresholds.min_value) & ~differs] = AGREES
    return verdicts
