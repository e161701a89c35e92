"""Candidate alignments of two videos: the window of the picture that both show, and offsets in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.window import Window, find_window, median, refine_window

_WINDOW_PAIRS = 6  # pairs of frames from which the window is found
_MIN_CORRELATION = 0.5  # median of those pairs, below which no window is searched
_SAME_WINDOW = 0.99  # the same, above which no window is needed
_MIN_IN_WINDOW = 0.75  # least correlation within the window
_CERTAIN = 0.95  # correlation within the window above which the centers are not compared
_REFINEMENTS = 3  # of the window
_CENTER = Window(0.26, 0.26, 0.26, 0.26)
_MIN_PAIR = 0.7  # least correlation of two frames that count towards an offset
_PICTURE_WEIGHT = 0.02  # weight of the frames' correlation next to that of their changes
_STEP_S = 0.25  # resolution of offsets
_MAX_OFFSETS = 12
_APART = 8  # steps between an offset and the others that it is compared with
_MAX_OTHER = 0.4  # of the weight of an offset that stands out: the largest of the others
_BLOCK_ROWS = 512  # of the matrix of all pairs of samples, computed at a time


class CommonView(NamedTuple):
    """Two videos cropped to the part of the picture that both show."""

    one: SampledFrames
    other: SampledFrames
    correlation: float  # median over the most similar pairs of frames

    def swapped(self) -> CommonView:
        """Return the same with one and other exchanged."""
        return CommonView(self.other, self.one, self.correlation)


def common_view(one: SampledFrames, other: SampledFrames) -> CommonView | None:
    """Return the videos cropped to the window that both show, or None if no frame of one resembles one of the other.

    Frames of cropped videos are similar at other times than those that show the same; in a better window, better pairs
    are found, and a better window from them.
    """
    nearest = _nearest(one, other)
    if nearest is not None and nearest.correlation < _MIN_CORRELATION:
        nearest = _nearest(one.cropped(_CENTER), other.cropped(_CENTER))  # a crop misplaces stripes least there
    if nearest is None or nearest.correlation < _MIN_CORRELATION:
        return None
    if nearest.correlation >= _SAME_WINDOW:
        return CommonView(one, other, nearest.correlation)
    of_one, in_one = _window(one, other, nearest)
    of_other, in_other = _window(other, one, nearest.swapped())
    view = _refined(one, other, of_one) if in_one >= in_other else _refined(other, one, of_other).swapped()
    return view if view.correlation >= _MIN_IN_WINDOW else None


def _window(one: SampledFrames, other: SampledFrames, pairs: _Pairs) -> tuple[Window, float]:
    """Return the window of `one` that `other` shows, and the median correlation of pairs in it."""
    p, q = one.vectors[pairs.one], other.vectors[pairs.other]
    window = find_window(p, q)
    return window, float(median(np.einsum("nc,nc->n", window.crop(p), q)))


def _refined(one: SampledFrames, other: SampledFrames, window: Window) -> CommonView:
    """Return the best view of `one` cropped to `window`, or to a window found from frames similar in it."""
    best = _cropped_view(one, other, window)
    for _ in range(_REFINEMENTS):
        if best.correlation >= _SAME_WINDOW or (pairs := _simultaneous(best.one, other)) is None:
            break
        window = refine_window(one.vectors[pairs.one], other.vectors[pairs.other], window)
        view = _cropped_view(one, other, window)
        if view.correlation <= best.correlation:
            break
        best = view
    return best


def _cropped_view(one: SampledFrames, other: SampledFrames, window: Window) -> CommonView:
    cropped = one.cropped(window)
    pairs = _nearest(cropped, other)
    return CommonView(cropped, other, pairs.correlation if pairs else 0.0)


def common_views(one: SampledFrames, other: SampledFrames) -> list[CommonView]:
    """Return `common_view`, and unless it is certain, the centers of both if they are similar: a logo is near an edge.

    Not for images: without motion, agreement of the centers alone is too little evidence.
    """
    view = common_view(one, other)
    views = [] if view is None else [view]
    if view is None or view.correlation < _CERTAIN:
        centers = _cropped_view(one, other.cropped(_CENTER), _CENTER)
        if centers.correlation >= _MIN_IN_WINDOW:
            views.append(centers)
    return views


class _Pairs(NamedTuple):
    """The `_WINDOW_PAIRS` pairs of distinctive samples that correlate best, in order."""

    one: NDArray[np.int64]  # their numbers
    other: NDArray[np.int64]
    correlation: float  # median

    def swapped(self) -> _Pairs:
        """Return the same with one and other exchanged."""
        return _Pairs(self.other, self.one, self.correlation)


def _nearest(one: SampledFrames, other: SampledFrames) -> _Pairs | None:
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
    return _Pairs(mine[order], theirs[partner[order]], float(median(correlation[order])))


def _simultaneous(one: SampledFrames, other: SampledFrames) -> _Pairs | None:
    """Return pairs of samples at the likeliest offset in time, or None if there is none."""
    offsets = candidate_offsets(one, other).likely
    if not offsets:
        return None
    mine, theirs = np.flatnonzero(one.is_distinctive), np.flatnonzero(other.is_distinctive)
    after = np.clip(np.searchsorted(other.starts[theirs], one.starts[mine] + offsets[0]), 1, len(theirs) - 1)
    wanted = one.starts[mine] + offsets[0]
    starts = other.starts[theirs]
    partner = np.where(wanted - starts[after - 1] < starts[after] - wanted, after - 1, after)
    correlation = np.einsum("nc,nc->n", one.vectors[mine], other.vectors[theirs[partner]])
    near = np.flatnonzero((np.abs(starts[partner] - wanted) <= _STEP_S) & (correlation >= _MIN_CORRELATION))
    if not len(near):
        return None
    chosen = near[np.linspace(0, len(near) - 1, min(len(near), _WINDOW_PAIRS)).round().astype(int)]
    return _Pairs(mine[chosen], theirs[partner[chosen]], float(median(correlation[chosen])))


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
