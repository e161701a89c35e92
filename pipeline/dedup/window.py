"""Windows of a picture, and the search for the window of one video that another video shows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.frame_signature import SIDE, SIGNATURE_BYTES

Floats = NDArray[np.float32]
_Margins = tuple[tuple[float, float], ...]

_COARSE = (0.0, 0.04, 0.08, 0.12)  # margins of a side that the first search tries
_CACHED = 256  # margins, whose matrices take at most 50 kB
_FINE = (-0.02, 0.0, 0.02)  # offsets from the best margins that the second one tries, and half of them


class Window(NamedTuple):
    """A window of a picture, by its margins as shares of the height and the width."""

    top: float = 0.0
    bottom: float = 0.0
    left: float = 0.0
    right: float = 0.0

    def crop(self, pictures: Floats) -> Floats:
        """Return pictures [n, SIGNATURE_BYTES] cropped to the window, resized to a full picture, normalized."""
        rows, columns = stretch(self.top, self.bottom), stretch(self.left, self.right)
        square = pictures.reshape(-1, SIDE, SIDE)
        return normalized(rows @ square @ columns.T)


def normalized(pictures: NDArray[np.generic]) -> Floats:
    """Return pictures [n, ...] as vectors [n, SIGNATURE_BYTES] of zero mean and unit length; a flat one gives zero."""
    cells = pictures.reshape(len(pictures), SIGNATURE_BYTES).astype(np.float32)
    # np.mean and np.linalg.norm give the same, and take twice the time for a few pictures.
    cells = cells - cells.sum(1, keepdims=True) / np.float32(SIGNATURE_BYTES)
    length = np.sqrt((cells * cells).sum(1, keepdims=True))
    return cells / np.maximum(length, 1e-6)


def blurred(pictures: Floats) -> Floats:
    """Return pictures [n, SIGNATURE_BYTES] with each cell averaged with its neighbors (1, 2, 1), normalized."""
    square = np.pad(pictures.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = square[:, :-2] + 2 * square[:, 1:-1] + square[:, 2:]
    return normalized(rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:])


@lru_cache(_CACHED)
def stretch(before: float, after: float) -> Floats:
    """Return the matrix [SIDE, SIDE] that resizes a line of cells without its margins to the full line (linear)."""
    return stretches(((before, after),))[0]


def stretches(margins: _Margins) -> Floats:
    """Return such a matrix for each of the margins: [n, SIDE, SIDE]."""
    before, after = np.array(margins).T[:, :, None]
    position = (before + (np.arange(SIDE) + 0.5) / SIDE * (1 - before - after)) * SIDE - 0.5
    distance = np.abs(np.clip(position, 0, SIDE - 1)[:, :, None] - np.arange(SIDE))
    return np.maximum(0, 1 - distance).astype(np.float32)


def find_window(pictures: Floats, others: Floats) -> Window:
    """Return the window of `pictures` [n, SIGNATURE_BYTES] whose crops correlate best with `others`, by the median.

    Tries all windows on a grid of 4 margins per side, then finer ones around the best. O(n); about 1 ms for 6 pictures.
    """
    grid = tuple((a, b) for a in _COARSE for b in _COARSE)
    return refine_window(pictures, others, _search(pictures, others, grid, grid))


def refine_window(pictures: Floats, others: Floats, best: Window) -> Window:
    """Return the window that correlates best among those whose margins differ little from the ones of `best`."""
    for scale in (1.0, 0.5):
        offsets = [(a * scale, b * scale) for a in _FINE for b in _FINE]
        rows = tuple((max(0.0, best.top + a), max(0.0, best.bottom + b)) for a, b in offsets)
        columns = tuple((max(0.0, best.left + a), max(0.0, best.right + b)) for a, b in offsets)
        best = _search(pictures, others, rows, columns)
    return best


def _search(pictures: Floats, others: Floats, rows: _Margins, columns: _Margins) -> Window:
    """Return the best window of those with margins `rows` and `columns`, without cropping any picture.

    A crop of a picture X is R X C^T, with the resizing matrices R and C. Its inner product with a picture Y is that of
    R and Y (X C^T)^T; its square is the inner product of R^T R and (X C^T) (X C^T)^T; its sum is the inner product of
    the sums of R and X C^T; that of Y is zero. Few large products take half the time of many small ones.
    """
    n, c = len(pictures), len(columns)
    x, y = (some.reshape(n, SIDE, SIDE) for some in (pictures, others))
    by_row, by_column = _resizing(rows), _resizing(columns)
    side_by_side: Floats = x @ by_column.transposed  # [n, SIDE, c * SIDE]
    common: Floats = side_by_side.reshape(n, SIDE * c, SIDE) @ y.swapaxes(1, 2)
    through: Floats = side_by_side.reshape(n, SIDE, c, SIDE).swapaxes(1, 2)
    square = (through @ through.swapaxes(2, 3)).reshape(n, c, SIGNATURE_BYTES) @ by_row.squares
    total = (x @ by_column.sums).swapaxes(1, 2) @ by_row.sums
    covariance = common.reshape(n, SIDE, c, SIDE).swapaxes(1, 2).reshape(n, c, SIGNATURE_BYTES) @ by_row.flat
    correlation = covariance / np.sqrt(np.maximum(square - total**2 / SIGNATURE_BYTES, 1e-12))
    column, row = divmod(int(np.argmax(median(correlation))), len(rows))
    return Window(*rows[row], *columns[column])


class _Resizing(NamedTuple):
    """The resizing matrices R of r margins, in the forms that `_search` needs."""

    transposed: Floats  # [SIDE, r * SIDE], R^T side by side
    flat: Floats  # [SIGNATURE_BYTES, r], R^T as columns
    squares: Floats  # [SIGNATURE_BYTES, r], R^T R as columns
    sums: Floats  # [SIDE, r], the sums of the columns of R


@lru_cache(_CACHED)
def _resizing(margins: _Margins) -> _Resizing:
    matrices = stretches(margins)
    transposed, squares = matrices.swapaxes(1, 2), matrices.swapaxes(1, 2) @ matrices
    return _Resizing(
        transposed.swapaxes(0, 1).reshape(SIDE, -1),
        transposed.reshape(len(margins), -1).T.copy(),
        squares.reshape(len(margins), -1).T.copy(),
        matrices.sum(1).T.copy(),
    )


def median(values: NDArray[Any]) -> Any:
    """Return the median of values [n, ...] over the first axis, n > 0, none of them NaN, without the 8 us of checks
    of `np.median`."""
    ordered, middle = np.sort(values, axis=0), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
