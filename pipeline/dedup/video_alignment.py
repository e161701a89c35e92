"""The ranges in which two videos agree at one offset in time, and the best offset.

Two things must agree: the frames, by their correlation, and what *changes* in them, by the correlation of each frame's
difference to the mean of its neighbors. Two takes of one scene, or two parts of an interview, agree in the first and
not in the second; a logo lowers the first a little and the second hardly at all. If nothing changes, the frames must be
equal. Both are required of each sample with its neighbors, which gives ranges, and again of each range as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.correlation import correlation, correlation_of_changes
from pipeline.dedup.frame_alignment import candidate_offsets
from pipeline.dedup.overlay import Overlay, overlay
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.similarity import Range
from pipeline.dedup.window import Floats

_STEP_S = 0.25  # by which the best offset is refined, then half of it
_CERTAIN = 0.95  # share of the largest possible score from which no other offset is tried
_MAX_GAP = 2  # samples within a range that may disagree
_STILL_SCORE = 0.5  # per second of a range without motion
_AGREES, _DISAGREES, _UNDECIDED = 1, -1, 0


class Alignment(NamedTuple):
    """The ranges in which two videos agree at one offset."""

    offset: float  # seconds that the times of b are larger
    score: float  # seconds that agree, weighted by the correlation of their changes
    similarity: float  # mean correlation of the frames
    ranges_a: tuple[Range, ...]
    ranges_b: tuple[Range, ...]

    def swapped(self) -> Alignment:
        """Return the same with a and b exchanged."""
        return Alignment(-self.offset, self.score, self.similarity, self.ranges_b, self.ranges_a)


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
    largest = min(one.distinctive_s, other.distinctive_s)
    for offset in candidate_offsets(one, other):
        best = _better(best, align(one, other, offset, thresholds))
        if best and best.score >= _CERTAIN * largest:
            break
    for step in (_STEP_S, _STEP_S / 2):
        if best:
            center = best.offset
            for sign in (-1, 1):
                best = _better(best, align(one, other, center + sign * step, thresholds))
    return best


def _better(one: Alignment | None, other: Alignment | None) -> Alignment | None:
    """Return the alignment of the larger score; the first of equal ones."""
    return max((a for a in (one, other) if a), key=lambda a: a.score, default=None)


def align(one: SampledFrames, other: SampledFrames, offset: float, thresholds: AlignmentThresholds) -> Alignment | None:
    """Return the ranges that agree at one offset, or None. The video with longer samples is laid over the other."""
    if np.median(one.lengths) >= np.median(other.lengths):
        return _align_coarse(one, other, offset, thresholds)
    found = _align_coarse(other, one, -offset, thresholds)
    return found and found.swapped()


def _align_coarse(
    one: SampledFrames, other: SampledFrames, offset: float, thresholds: AlignmentThresholds
) -> Alignment | None:
    over = overlay(one, other, offset)
    use = np.flatnonzero(over.is_distinctive)
    if not len(use):
        return None
    q, r = over.one[use], over.other[use]
    correlations = np.einsum("nc,nc->n", q, r)
    index = np.cumsum(over.is_distinctive) - 1  # of a sample among the distinctive ones
    ranges, score, similarities = [], 0.0, []
    for first, last in _segments(_verdicts(over, use, correlations, thresholds)):
        members = index[first : last + 1][over.is_distinctive[first : last + 1]]
        strength = _strength(q[members], r[members], correlations[members], thresholds)
        if strength:
            ranges.append(_range(one, other, over, offset, first, last))
            score += strength * float(one.lengths[over.sample[use[members]]].sum())
            similarities.append(correlations[members])
    if not ranges:
        return None
    ranges_b = tuple((start + offset, end + offset) for start, end in ranges)
    return Alignment(offset, score, float(np.concatenate(similarities).mean()), tuple(ranges), ranges_b)


def _verdicts(
    over: Overlay, use: NDArray[np.int64], correlations: Floats, thresholds: AlignmentThresholds
) -> NDArray[np.int8]:
    """Return for each sample of an overlay whether it agrees, disagrees, or is undecided because both are blank."""
    change, energy = correlation_of_changes(over.one[use], over.other[use])
    agrees = (correlations >= thresholds.min_correlation) & (
        (energy < thresholds.still_energy) | (change >= thresholds.min_change)
    )
    verdicts = np.full(len(over.sample), _UNDECIDED, np.int8)
    verdicts[use] = np.where(agrees, _AGREES, _DISAGREES)
    verdicts[~over.is_distinctive & ~over.is_blank] = _DISAGREES
    return verdicts


def _strength(q: Floats, r: Floats, correlations: Floats, thresholds: AlignmentThresholds) -> float:
    """Return the score per second of a range with frames q and r [n, c], 0 if they do not agree as a whole."""
    change, energy = correlation(q - q.mean(0), r - r.mean(0))
    if energy < thresholds.still_energy:
        return _STILL_SCORE if np.median(correlations) >= thresholds.min_still_correlation else 0.0
    return change if change >= thresholds.min_range_change else 0.0


def _segments(verdicts: NDArray[np.int8]) -> list[tuple[int, int]]:
    """Return the first and the last sample of each segment that agrees.

    Within a segment, up to `_MAX_GAP` successive samples may disagree, and any number may be undecided; undecided
    samples before and after belong to it.
    """
    agreeing = np.flatnonzero(verdicts == _AGREES)
    if not len(agreeing):
        return []
    disagreeing = np.concatenate([[0], np.cumsum(verdicts == _DISAGREES)])
    between = disagreeing[agreeing[1:]] - disagreeing[agreeing[:-1]]
    breaks = np.flatnonzero(between > _MAX_GAP)
    firsts = agreeing[np.concatenate([[0], breaks + 1])]
    lasts = agreeing[np.concatenate([breaks, [len(agreeing) - 1]])]
    segments = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        while first > 0 and verdicts[first - 1] == _UNDECIDED:
            first -= 1
        while last + 1 < len(verdicts) and verdicts[last + 1] == _UNDECIDED:
            last += 1
        segments.append((first, last))
    return segments


def _range(one: SampledFrames, other: SampledFrames, over: Overlay, offset: float, first: int, last: int) -> Range:
    """Return the range of `one`, in seconds, of the overlay's samples from `first` to `last`.

    A range that begins with the first sample of the overlay begins where both videos do, if that is within one sample;
    its end likewise.
    """
    start = float(one.starts[over.sample[first]])
    end = float(one.starts[over.sample[last]] + one.lengths[over.sample[last]])
    common_start = max(float(one.starts[0]), float(other.starts[0]) - offset)
    common_end = min(one.end, other.end - offset)
    if first == 0 and start - common_start <= one.lengths[over.sample[first]]:
        start = common_start
    if last == len(over.sample) - 1 and common_end - end <= one.lengths[over.sample[last]]:
        end = common_end
    return max(start, common_start), min(end, common_end)
