"""Ranges of time in which two videos agree, from the verdicts on single samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.overlay import Overlay
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.similarity import Range

AGREES, DISAGREES, UNDECIDED, UNLIKE = 1, -1, 0, 2  # unlike: undecided, but no range ends with it
_MAX_GAP = 2  # samples within a range that may disagree


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


def lay_over(
    one: SampledFrames,
    other: SampledFrames,
    offset: float,
    align_coarse: Callable[[SampledFrames, SampledFrames, float], Alignment | None],
) -> Alignment | None:
    """Call `align_coarse` with the video of fewer samples first, which it lays over the other one."""
    if one.density <= other.density:
        return align_coarse(one, other, offset)
    found = align_coarse(other, one, -offset)
    return found and found.swapped()


def segments(verdicts: NDArray[np.int8]) -> list[tuple[int, int]]:
    """Return the first and the last sample of each segment that agrees.

    Within a segment, up to `_MAX_GAP` successive samples may disagree, and any number may be undecided; undecided
    samples before and after belong to it.
    """
    agreeing = np.flatnonzero(verdicts == AGREES)
    if not len(agreeing):
        return []
    disagreeing = np.concatenate([[0], np.cumsum(verdicts == DISAGREES)])
    between = disagreeing[agreeing[1:]] - disagreeing[agreeing[:-1]]
    breaks = np.flatnonzero(between > _MAX_GAP)
    firsts = agreeing[np.concatenate([[0], breaks + 1])]
    lasts = agreeing[np.concatenate([breaks, [len(agreeing) - 1]])]
    segments = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        while first > 0 and verdicts[first - 1] == UNDECIDED:
            first -= 1
        while last + 1 < len(verdicts) and verdicts[last + 1] == UNDECIDED:
            last += 1
        segments.append((first, last))
    return segments


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Return the union of ranges as disjoint ranges, ascending."""
    union: list[Range] = []
    for start, end in sorted(ranges):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], end)
        else:
            union.append((start, end))
    return tuple(union)


def range_of(one: SampledFrames, other: SampledFrames, over: Overlay, offset: float, first: int, last: int) -> Range:
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
