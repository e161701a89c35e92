"""The ranges in which two videos agree at one offset in time, and the best offset.

Two things must agree: the frames, by their correlation, and what *changes* in them, by the correlation of each frame's
difference to the mean of its neighbors. Two takes of one scene, or two parts of an interview, agree in the first and
not in the second; a logo lowers the first a little and the second hardly at all. If nothing changes, the frames must be
equal. Both are required of each sample with its neighbors, which gives ranges, and again of each range as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.activity_alignment import correlation as activity_correlation
from pipeline.dedup.activity_alignment import stands_out
from pipeline.dedup.alignment.frame_alignment import OffsetWeights, candidate_offsets
from pipeline.dedup.correlation import compare_pictures, correlation, correlation_of_changes
from pipeline.dedup.dense_agreement import compare_dense
from pipeline.dedup.overlay import Overlay, overlay
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.segments import AGREES, DISAGREES, UNDECIDED, UNLIKE, Alignment, lay_over, range_of, segments
from pipeline.dedup.similarity import Range
from pipeline.dedup.window import Floats, median

_STEP_S = 0.25  # by which the best offset is refined, then half of it
_CERTAIN = 0.95  # share of the largest possible score from which no other offset is tried
_STILL_SCORE = 0.5  # per second of a range without motion
_MAX_WEIGHT_S = 2.0  # of a sample in the score of a range
_DISTANCES_S = (0.3, 0.6, 1.2)  # between two samples that are compared
_MOMENT_S, _MIN_MOMENTS = 2.0, 4  # length and number of moments that must agree in sparsely sampled videos
_MIN_ACTIVITY, _MIN_SIGNIFICANCE = 0.25, 2.5  # of the activity where a video is sparsely sampled
_MIN_ACTIVITY_S = 30.0  # over which it is correlated at least
_MIN_COMPARABLE, _MIN_SHARE_COMPARABLE = 6, 0.1  # samples, and their share, that are enough


@dataclass(frozen=True, kw_only=True)
class AlignmentThresholds:
    """From which correlations on two frames, or two ranges, agree."""

    min_correlation: float = 0.8  # of frames
    min_change: float = 0.6  # of what changes around a frame
    min_range_change: float = 0.7  # of what changes within a range
    still_energy: float = 1e-3  # energy of the changes, relative to the frame, below which frames are still
    min_still_correlation: float = 0.985  # median correlation of frames in a still range


def best_alignment(one: SampledFrames, other: SampledFrames, thresholds: AlignmentThresholds) -> Alignment | None:
    """Return the alignment of the largest score over all candidate offsets, or None if no range agrees."""
    best: Alignment | None = None
    largest = min(_weights(frames)[frames.is_distinctive].sum() for frames in (one, other))
    weights = candidate_offsets(one, other)
    align_at = partial(_align_certain, one, other, weights=weights, thresholds=thresholds)
    for offset in weights.likely:
        best = align_at(offset, than=best) or best
        if best and best.score >= _CERTAIN * largest:
            break
    for step in (_STEP_S, _STEP_S / 2):
        if best:
            center = best.offset
            for sign in (-1, 1):
                best = align_at(center + sign * step, than=best) or best
    return best


def _align_certain(
    one: SampledFrames,
    other: SampledFrames,
    offset: float,
    *,
    than: Alignment | None,
    weights: OffsetWeights,
    thresholds: AlignmentThresholds,
) -> Alignment | None:
    """Return `align`, with the certainty of the offset by the activity if known all the time, else by the pictures."""
    if one.is_sparse and other.is_sparse:
        is_certain = stands_out(one.course, other.course, offset)
    else:
        is_certain = weights.stands_out(offset)
    return align(one, other, offset, thresholds, is_certain=is_certain, min_score=than.score if than else 0.0)


def align(
    one: SampledFrames,
    other: SampledFrames,
    offset: float,
    thresholds: AlignmentThresholds,
    *,
    is_certain: bool,
    min_score: float = 0.0,
) -> Alignment | None:
    """Return the ranges that agree at one offset, or None if their score is not larger than `min_score`.

    `is_certain`: the offset stands out.
    """
    at = partial(_align_coarse, thresholds=thresholds, is_certain=is_certain, min_score=min_score)
    return lay_over(one, other, offset, at)


class _Candidate(NamedTuple):
    """A range that agrees but for its support."""

    within: Range
    score: float
    similarities: Floats  # of its samples
    times_s: NDArray[np.float64]  # of the samples that agree


def _align_coarse(
    one: SampledFrames,
    other: SampledFrames,
    offset: float,
    thresholds: AlignmentThresholds,
    *,
    is_certain: bool,
    min_score: float,
) -> Alignment | None:
    one = one.thinned()  # changes are measured over the same time in all videos
    candidates = list(_candidates(one, other, offset, thresholds))
    if sum(candidate.score for candidate in candidates) <= min_score:
        return None  # whatever is supported, which takes most of the time to find out
    found = [c for c in candidates if _is_supported(one, other, offset, c, is_certain=is_certain)]
    score = sum(candidate.score for candidate in found)
    if not found or score <= min_score:
        return None
    ranges = tuple(candidate.within for candidate in found)
    ranges_b = tuple((start + offset, end + offset) for start, end in ranges)
    similarity = float(np.concatenate([candidate.similarities for candidate in found]).mean())
    return Alignment(offset, score, similarity, ranges, ranges_b)


def _candidates(
    one: SampledFrames, other: SampledFrames, offset: float, thresholds: AlignmentThresholds
) -> Iterator[_Candidate]:
    """Yield the ranges in which the frames of two videos, and their changes, agree at one offset."""
    over = overlay(one, other, offset)
    use = _comparable(over)
    q, r = over.one[use], over.other[use]
    correlations = np.einsum("nc,nc->n", q, r)
    if not np.any(correlations >= thresholds.min_correlation):
        return
    verdicts = _verdicts(over, use, correlations, thresholds)
    for first, last in segments(verdicts):
        members = slice(*np.searchsorted(use, (first, last + 1)))
        if strength := _strength(q[members], r[members], correlations[members], thresholds):
            agreeing = use[members][verdicts[use[members]] == AGREES]
            score = strength * float(_weights(one)[over.sample[use[members]]].sum())
            within = range_of(one, other, over, offset, first, last)
            yield _Candidate(within, score, correlations[members], one.starts[over.sample[agreeing]])


def _is_supported(
    one: SampledFrames, other: SampledFrames, offset: float, candidate: _Candidate, *, is_certain: bool
) -> bool:
    """Return whether the pictures of a range agree, at enough moments of sparse videos, and the activity as well.

    The activity is not needed where both videos are densely sampled, as their motion is compared. A dense and a sparse
    video have too few pictures of the same moment, and only need it.
    """
    found = candidate.within
    if not one.is_sparse and not other.is_sparse:
        return compare_dense(one, other, offset, found).is_sufficient(is_certain=is_certain)
    if one.is_sparse and other.is_sparse:
        if not compare_pictures(one, other, offset, found).is_sufficient(is_certain=is_certain):
            return False
        if len(np.unique(candidate.times_s // _MOMENT_S)) < _MIN_MOMENTS:
            return False
    if one.course is None or other.course is None:
        return True
    middle_s, half_s = (found[0] + found[1]) / 2, max(found[1] - found[0], _MIN_ACTIVITY_S) / 2
    start_s, end_s = middle_s - half_s, middle_s + half_s
    activity = activity_correlation(one.course, other.course, offset, start_s=start_s, end_s=end_s)
    return activity.value >= _MIN_ACTIVITY and activity.significance >= _MIN_SIGNIFICANCE


def _weights(frames: SampledFrames) -> NDArray[np.float64]:
    """Return the weights of frames in a score: their lengths, because a few samples are little evidence of a minute."""
    return np.minimum(frames.lengths, _MAX_WEIGHT_S)


def _comparable(over: Overlay) -> NDArray[np.int64]:
    """Return the distinctive samples of an overlay that show nearly the same moment in both videos.

    Nearly is as little as leaves enough of them: two videos sampled at key frames only have few common moments.
    """
    distinctive = np.flatnonzero(over.is_distinctive)
    for distance_s in _DISTANCES_S:
        use = distinctive[over.distance_s[distinctive] <= distance_s]
        if len(use) >= max(_MIN_COMPARABLE, _MIN_SHARE_COMPARABLE * len(distinctive)):
            return use
    return distinctive


def _verdicts(
    over: Overlay, use: NDArray[np.int64], correlations: Floats, thresholds: AlignmentThresholds
) -> NDArray[np.int8]:
    """Return for each sample of an overlay whether it agrees, disagrees, or is undecided.

    A sample is undecided if both frames are blank, or show different moments. Of different moments only the ends of a
    range are judged: it cannot end in frames that have nothing in common.
    """
    change, energy = correlation_of_changes(over.one[use], over.other[use])
    agrees = (correlations >= thresholds.min_correlation) & (
        (energy < thresholds.still_energy) | (change >= thresholds.min_change)
    )
    similar = np.einsum("nc,nc->n", over.one, over.other) >= thresholds.min_correlation
    verdicts = np.where(similar | over.is_blank, UNDECIDED, UNLIKE).astype(np.int8)
    verdicts[~over.is_distinctive & ~over.is_blank] = DISAGREES
    verdicts[use] = np.where(agrees, AGREES, DISAGREES)
    return verdicts


def _strength(q: Floats, r: Floats, correlations: Floats, thresholds: AlignmentThresholds) -> float:
    """Return the score per second of a range with frames q and r [n, c], 0 if they do not agree as a whole."""
    change, energy = correlation(q - q.mean(0), r - r.mean(0))
    if energy < thresholds.still_energy:
        return _STILL_SCORE if median(correlations) >= thresholds.min_still_correlation else 0.0
    return change if change >= thresholds.min_range_change else 0.0
