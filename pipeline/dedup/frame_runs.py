"""Runs of frame samples laid over each other: in time by an offset, in the picture by a window.

A run is what a video's signature becomes for a comparison: its pictures as vectors of length 1 without their mean, so
that brightness and contrast do not count and the product of two is their correlation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.similarity import Range, Signature
from pipeline.video.analysis.frame_signature import SIDE, SIGNATURE_BYTES, is_flat, signature_pictures

Floats = NDArray[np.float32]
Times = NDArray[np.float64]
Indices = NDArray[np.int64]

AROUND = 3  # neighbors in time on either side that a picture's change is measured from
_FAINT = 0.02  # length of a change that counts as none
_DENSE_S = 1.0  # samples at most so far apart have what lies between them in between
_NEAR = 0.6  # of the distance of two samples: how far from a sample it still stands for a time
_EXTREME = 12  # cells: as many as a logo of a fifth of the width and height covers
_COARSE = (0.0, 0.04, 0.08, 0.12)  # margins that a window may leave on a side
_FINE = (-0.02, 0.0, 0.02)


@dataclass(frozen=True, eq=False)
class Run:
    """A video's samples in order: pictures [n, SIDE * SIDE], times [n], and which of them can be told from others."""

    pictures: Floats
    at: Times
    lasts: Times
    useful: NDArray[np.bool_]

    @classmethod
    def of(cls, signature: Signature) -> Run:
        """Sort the samples by time and normalize them."""
        order = np.argsort(signature.starts, kind="stable")
        pictures = signature_pictures([signature.samples[i] for i in order])
        return cls(
            normalized(tempered(pictures)), signature.starts[order], signature.lengths[order], ~is_flat(pictures)
        )

    @property
    def end(self) -> float:
        """When the last sample ends."""
        return float(self.at[-1] + self.lasts[-1])

    @property
    def changes(self) -> Floats:
        """What sets each picture apart from its neighbors in time: [n, SIDE * SIDE], at most 1 long."""
        apart = self.pictures - mean_around(self.pictures, AROUND, AROUND)
        length = np.linalg.norm(apart, axis=1, keepdims=True)
        changes: Floats = apart / np.maximum(length, _FAINT)
        return changes

    @property
    def useful_s(self) -> float:
        """Seconds of samples that can be told from others."""
        return float(self.lasts[self.useful].sum())

    def through(self, window: Window) -> Run:
        """Return the run with only what is in the window of each picture."""
        return replace(self, pictures=window.of(self.pictures))

    def without(self, ranges: Iterable[Range]) -> Run:
        """Return the run where what lies in `ranges` is of no use any more."""
        middle = self.at + self.lasts / 2
        taken = [(middle >= start) & (middle <= end) for start, end in ranges]
        return replace(self, useful=self.useful & ~np.any([np.zeros(len(middle), bool), *taken], axis=0))


def mean_around(values: Floats, before: int, after: int) -> Floats:
    """Return for each of `values` [n, c] the mean of itself and its neighbors, fewer at the ends."""
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), values.cumsum(0, dtype=np.float64)])
    at = np.arange(len(values))
    low, high = np.maximum(at - before, 0), np.minimum(at + after + 1, len(values))
    return ((sums[high] - sums[low]) / (high - low)[:, None]).astype(np.float32)


def tempered(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures [n, SIDE, SIDE] with the brightest and darkest cells no further out than the rest, flat: [n, c].

    A bright logo on a dark picture would otherwise be most of what sets the picture apart.
    """
    cells = pictures.reshape(len(pictures), SIGNATURE_BYTES)
    ordered = np.sort(cells, axis=1)
    return np.clip(cells, ordered[:, [_EXTREME]], ordered[:, [-1 - _EXTREME]])


def normalized(pictures: NDArray[np.generic]) -> Floats:
    """Return pictures [n, ...] as vectors [n, SIGNATURE_BYTES] of mean 0 and length 1; of one color: 0."""
    cells = pictures.reshape(len(pictures), SIGNATURE_BYTES).astype(np.float32)
    cells = cells - cells.mean(1, keepdims=True)
    length = np.linalg.norm(cells, axis=1, keepdims=True)
    return cells / np.maximum(length, 1e-6)


class Window(NamedTuple):
    """A part of a picture: what it leaves out above, below, left and right, as shares of height and width."""

    top: float = 0.0
    bottom: float = 0.0
    left: float = 0.0
    right: float = 0.0

    def of(self, pictures: Floats) -> Floats:
        """Return what is in the window of pictures [n, SIGNATURE_BYTES], stretched to a whole picture, normalized."""
        rows, columns = stretch(self.top, self.bottom), stretch(self.left, self.right)
        square = pictures.reshape(-1, SIDE, SIDE)
        return normalized(rows @ square @ columns.T)


def stretch(before: float, after: float) -> Floats:
    """Return the matrix [SIDE, SIDE] that stretches a part of a line of cells to the whole line."""
    at = (before + (np.arange(SIDE) + 0.5) / SIDE * (1 - before - after)) * SIDE - 0.5
    distance = np.abs(np.clip(at, 0, SIDE - 1)[:, None] - np.arange(SIDE)[None])
    return np.maximum(0, 1 - distance).astype(np.float32)


def find_window(one: Floats, other: Floats) -> Window:
    """Return the window of pictures `one` [n, SIGNATURE_BYTES] in which they are most like `other`, the median of n.

    All windows on a grid of 4 margins a side, then finer around the best. O(n), about a millisecond for 6 pictures.
    """
    grid = tuple((a, b) for a in _COARSE for b in _COARSE)
    best = _search(one, other, grid, grid)
    for scale in (1.0, 0.5):
        around = [(a * scale, b * scale) for a in _FINE for b in _FINE]
        rows = tuple((max(0.0, best.top + a), max(0.0, best.bottom + b)) for a, b in around)
        columns = tuple((max(0.0, best.left + a), max(0.0, best.right + b)) for a, b in around)
        best = _search(one, other, rows, columns)
    return best


_Margins = tuple[tuple[float, float], ...]


def _search(one: Floats, other: Floats, rows: _Margins, columns: _Margins) -> Window:
    """Return the best window of those with margins `rows` and `columns`.

    A window of a picture X is R X C^T, with matrices R and C that stretch. What it has in common with a picture Y is
    the inner product of R and Y C X^T, its square that of R^T R and (X C^T) (X C^T)^T, its sum that of the sums of R
    and X C^T: for all windows together these are three products of matrices, and no window is ever made.
    """
    x, y = (pictures.reshape(-1, 1, SIDE, SIDE) for pictures in (one, other))
    by_row, by_column = _stretches(rows), _stretches(columns)
    through: Floats = x @ by_column.swapaxes(1, 2)  # [n, columns, SIDE, SIDE]
    common = _inner(y @ by_column @ x.swapaxes(2, 3), by_row)
    square = _inner(through @ through.swapaxes(2, 3), by_row.swapaxes(1, 2) @ by_row)
    total = through.sum(3) @ by_row.sum(1).T
    likeness = common / np.sqrt(np.maximum(square - total**2 / SIGNATURE_BYTES, 1e-12))  # `other` has no mean
    column, row = np.unravel_index(int(np.argmax(np.median(likeness, axis=0))), likeness.shape[1:])
    return Window(*rows[row], *columns[column])


@lru_cache(maxsize=8)  # the grid's is kept; those around a best window hardly ever come again
def _stretches(margins: _Margins) -> Floats:
    return np.stack([stretch(*some) for some in margins])


def _inner(some: NDArray[Any], others: Floats) -> Floats:
    """Return the inner product of each of matrices [n, c, SIDE, SIDE] and each of [r, SIDE, SIDE]: [n, c, r]."""
    products: Floats = some.reshape(*some.shape[:2], -1) @ others.reshape(len(others), -1).T
    return products


class Overlay(NamedTuple):
    """Samples of one run [m], and for each what the other run shows at its time, an offset added."""

    sample: Indices
    one: Floats  # [m, SIGNATURE_BYTES]
    other: Floats
    useful: NDArray[np.bool_]  # [m]: both can be told from others
    blank: NDArray[np.bool_]  # [m]: neither can


def lay_over(one: Run, other: Run, offset: float) -> Overlay:
    """Return the samples of `one` for which `other` has a picture, its clock being `offset` seconds ahead.

    Between two dense samples of `other` there is a mixture of both. A sample is compared with it, and with either of
    the two, and the most alike of them is taken: motion is not linear.
    """
    at = one.at + offset
    right = np.clip(np.searchsorted(other.at, at), 1, max(1, len(other.at) - 1))
    left = right - 1
    right = np.minimum(right, len(other.at) - 1)
    gap = np.maximum(other.at[right] - other.at[left], 1e-9)
    share = np.clip((at - other.at[left]) / gap, 0, 1)
    nearest = np.where(share < 0.5, left, right)
    reach = np.maximum(other.lasts[nearest], 1e-9) * _NEAR
    here = (np.abs(other.at[nearest] - at) <= reach) | ((at >= other.at[0]) & (at <= other.at[-1]) & (gap <= _DENSE_S))
    sample = np.flatnonzero(here)
    left, right, share = left[sample], right[sample], share[sample, None].astype(np.float32)
    pictures = one.pictures[sample]
    mixed = other.pictures[left] * (1 - share) + other.pictures[right] * share
    choices = np.stack([normalized(mixed), other.pictures[left], other.pictures[right]])
    dense = (gap[sample] <= _DENSE_S) & (share[:, 0] > 0) & (share[:, 0] < 1)
    alike = np.einsum("knc,nc->kn", choices, pictures)
    alike[0, ~dense] = -2
    far = np.where(share[:, 0] < 0.5, 2, 1)
    alike[far[~dense], np.flatnonzero(~dense)] = -2  # not dense: the nearest it is
    chosen = choices[alike.argmax(0), np.arange(len(sample))]
    mine, theirs = one.useful[sample], other.useful[nearest[sample]]
    return Overlay(sample, pictures, chosen, mine & theirs, ~mine & ~theirs)
