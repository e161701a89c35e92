"""Where two videos may lie over each other: in which window of the picture, and at which offsets in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.frame_runs import Floats, Run, Window, find_window

_WINDOW_PAIRS = 6  # pictures by which the window is found
_ALIKE = 0.5  # median correlation of the most alike pictures, below which no window helps
_SAME_WINDOW = 0.99  # above which none is needed
_FRAMED = 0.75  # least correlation in the window
_CLEAR = 0.95  # in the window, above which the middles are not looked at
_MIDDLE = Window(0.26, 0.26, 0.26, 0.26)
_VOTE = 0.7  # least correlation of two pictures that vote for an offset
_STILL_VOTE = 0.02  # how much pictures count that nothing changes around
_STEP_S = 0.25
_OFFSETS = 24  # that are tried
_ROWS = 512  # of the matrix of all pairs of samples, held at a time


class Framed(NamedTuple):
    """Two runs that show the same part of the picture, and how alike their most alike pictures are."""

    one: Run
    other: Run
    alike: float


def in_one_window(one: Run, other: Run) -> Framed | None:
    """Return the runs so that both show the same part of the picture, or None where they have no picture in common."""
    near = _nearest(one, other)
    if near is None:
        return None
    i, j, all_alike = near
    alike = float(np.median(all_alike))
    if alike < _ALIKE:
        return None
    if alike >= _SAME_WINDOW:
        return Framed(one, other, alike)
    p, q = one.pictures[i], other.pictures[j]
    inner, outer = find_window(p, q), find_window(q, p)
    by_inner = float(np.median(np.einsum("nc,nc->n", inner.of(p), q)))
    by_outer = float(np.median(np.einsum("nc,nc->n", p, outer.of(q))))
    if max(by_inner, by_outer) < _FRAMED:
        return None
    if by_inner >= by_outer:
        return Framed(one.through(inner), other, by_inner)
    return Framed(one, other.through(outer), by_outer)


def in_one_window_or_the_middle(one: Run, other: Run) -> Framed | None:
    """Return the runs in one window, or the middles of both where these are more alike: a logo lies at an edge.

    Not for single pictures: to agree in the middle alone is too little where nothing moves.
    """
    framed = in_one_window(one, other)
    if framed is not None and framed.alike >= _CLEAR:
        return framed
    middles = one.through(_MIDDLE), other.through(_MIDDLE)
    near = _nearest(*middles)
    alike = float(np.median(near[2])) if near else 0.0
    if alike >= _FRAMED and (framed is None or alike > framed.alike):
        return Framed(*middles, alike)
    return framed


def _nearest(one: Run, other: Run) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats] | None:
    """Return the pairs of samples that are most alike, at most `_WINDOW_PAIRS`, the best first."""
    mine, theirs = np.flatnonzero(one.useful), np.flatnonzero(other.useful)
    if not len(mine) or not len(theirs):
        return None
    best, which = [], []
    for at in range(0, len(mine), _ROWS):
        alike = one.pictures[mine[at : at + _ROWS]] @ other.pictures[theirs].T
        which.append(alike.argmax(1))
        best.append(alike.max(1))
    alike, partner = np.concatenate(best), np.concatenate(which)
    order = np.argsort(-alike, kind="stable")[:_WINDOW_PAIRS]
    return mine[order], theirs[partner[order]], alike[order]


def likely_offsets(one: Run, other: Run) -> list[float]:
    """Return differences of times at which samples are alike, the most likely first.

    Each pair of samples votes for its difference with the correlation of what sets the two apart from their
    neighbors, as in a quiet scene all pictures are alike; and a little with that of the pictures.
    """
    mine, theirs = np.flatnonzero(one.useful), np.flatnonzero(other.useful)
    changes, others = one.changes[mine], other.changes[theirs]
    votes: dict[int, float] = {}
    for at in range(0, len(mine), _ROWS):
        part = mine[at : at + _ROWS]
        alike = one.pictures[part] @ other.pictures[theirs].T
        i, j = np.nonzero(alike >= _VOTE)
        if len(i):
            weight = np.einsum("nc,nc->n", changes[at + i], others[j]) + _STILL_VOTE * alike[i, j]
            difference = np.round((other.at[theirs[j]] - one.at[part[i]]) / _STEP_S).astype(np.int64)
            steps, back = np.unique(difference, return_inverse=True)
            for step, vote in zip(steps.tolist(), np.bincount(back, weight).tolist(), strict=True):
                votes[step] = votes.get(step, 0.0) + vote
    best = sorted(votes, key=lambda step: (-votes[step], abs(step), step))[:_OFFSETS]
    return [step * _STEP_S for step in best]
