"""Candidate alignments of two videos: the window of the picture that both show, and offsets in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.window import Floats, Window, find_window

_WINDOW_PAIRS = 6  # pairs of frames from which the window is found
_MIN_CORRELATION = 0.5  # median of those pairs, below which no window is searched
_SAME_WINDOW = 0.99  # the same, above which no window is needed
_MIN_IN_WINDOW = 0.75  # least correlation within the window
_CERTAIN = 0.95  # correlation within the window above which the centers are not compared
_CENTER = Window(0.26, 0.26, 0.26, 0.26)
_MIN_PAIR = 0.7  # least correlation of two frames that count towards an offset
_PICTURE_WEIGHT = 0.02  # weight of the frames' correlation next to that of their changes
_STEP_S = 0.25  # resolution of offsets
_MAX_OFFSETS = 24
_APART = 8  # steps between an offset and the others that it is compared with
_MAX_OTHER = 0.4  # of the weight of an offset that stands out: the largest of the others
_BLOCK_ROWS = 512  # of the matrix of all pairs of samples, computed at a time


class CommonView(NamedTuple):
    """Two videos cropped to the part of the picture that both show."""

    one: SampledFrames
    other: SampledFrames
    correlation: float  # median over the most similar pairs of frames


def common_view(one: SampledFrames, other: SampledFrames) -> CommonView | None:
    """Return the videos cropped to the window that both show, or None if no frame of one resembles one of the other."""
    nearest = _nearest(one, other)
    if nearest is None:
        return None
    i, j, correlations = nearest
    correlation = float(np.median(correlations))
    if correlation < _MIN_CORRELATION:
        return None
    if correlation >= _SAME_WINDOW:
        return CommonView(one, other, correlation)
    p, q = one.vectors[i], other.vectors[j]
    of_one, of_other = find_window(p, q), find_window(q, p)
    in_one = float(np.median(np.einsum("nc,nc->n", of_one.crop(p), q)))
    in_other = float(np.median(np.einsum("nc,nc->n", p, of_other.crop(q))))
    if max(in_one, in_other) < _MIN_IN_WINDOW:
        return None
    if in_one >= in_other:
        return CommonView(one.cropped(of_one), other, in_one)
    return CommonView(one, other.cropped(of_other), in_other)


def common_view_or_center(one: SampledFrames, other: SampledFrames) -> CommonView | None:
    """Return `common_view`, or the centers of both if they correlate better: a logo is near an edge.

    Not for images: without motion, agreement of the centers alone is too little evidence.
    """
    view = common_view(one, other)
    if view is not None and view.correlation >= _CERTAIN:
        return view
    centers = one.cropped(_CENTER), other.cropped(_CENTER)
    nearest = _nearest(*centers)
    correlation = float(np.median(nearest[2])) if nearest else 0.0
    if correlation >= _MIN_IN_WINDOW and (view is None or correlation > view.correlation):
        return CommonView(*centers, correlation)
    return view


def _nearest(one: SampledFrames, other: SampledFrames) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats] | None:
    """Return the `_WINDOW_PAIRS` pairs of distinctive samples that correlate best, and their correlations, in order."""
    mine, theirs = np.flatnonzero(one.is_distinctive), np.flatnonzero(other.is_distinctive)
    if not len(mine) or not len(theirs):
        return None
    best, which = [], []
    for start in range(0, len(mine), _BLOCK_ROWS):
        correlation = one.vectors[mine[start : start + _BLOCK_ROWS]] @ other.vectors[theirs].T
        which.append(correlation.argmax(1))
        best.append(correlation.max(1))
    correlation, partner = np.concatenate(best), np.concatenate(which)
    order = np.argsort(-correlation, kind="stable")[:_WINDOW_PAIRS]
    return mine[order], theirs[partner[order]], correlation[order]


class OffsetWeights(NamedTuple):
    """How much speaks for each offset in time, in steps of `_STEP_S`."""

    weights: NDArray[np.float64]  # [m]
    first: int  # step of the first one

    @property
    def likely(self) -> list[float]:
        """The offsets in seconds at which samples are similar, the most likely first."""
        found = np.flatnonzero(self.weights > 0)
        best = found[np.lexsort((found, np.abs(found + self.first), -self.weights[found]))][:_MAX_OFFSETS]
        return [float((step + self.first) * _STEP_S) for step in best]

    def stands_out(self, offset: float) -> bool:
        """Return whether far more speaks for an offset than for all others.

        It does not if both videos repeat themselves, or move little.
        """
        place = round(offset / _STEP_S) - self.first
        near, others = slice(max(0, place - _APART), max(0, place + _APART + 1)), self.weights.copy()
        others[near] = 0.0
        return float(others.max(initial=0.0)) < _MAX_OTHER * float(self.weights[near].max(initial=0.0))


def candidate_offsets(one: SampledFrames, other: SampledFrames) -> OffsetWeights:
    """Return the weights of the offsets at which samples are similar.

    Each pair of similar samples adds to the weight of its difference in time: the correlation of their changes, because
    in a quiet scene all frames are similar, and a little of the correlation of the frames. O(n m) for n and m samples.
    """
    mine, theirs = np.flatnonzero(one.is_distinctive), np.flatnonzero(other.is_distinctive)
    if not len(mine) or not len(theirs):
        return OffsetWeights(np.zeros(0), 0)
    changes, others = one.changes[mine], other.changes[theirs]
    first = int((other.starts[theirs[0]] - one.starts[mine[-1]]) // _STEP_S)
    weights = np.zeros(int((other.starts[theirs[-1]] - one.starts[mine[0]]) // _STEP_S) - first + 2)
    for start in range(0, len(mine), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        correlation = one.vectors[mine[block]] @ other.vectors[theirs].T
        weight = np.where(correlation >= _MIN_PAIR, changes[block] @ others.T + _PICTURE_WEIGHT * correlation, 0)
        difference = other.starts[theirs] - one.starts[mine[block], None]
        bins = np.round(difference / _STEP_S).astype(np.int64) - first
        weights += np.bincount(bins.reshape(-1), weight.reshape(-1), len(weights))
    return OffsetWeights(weights, first)
