"""Windows of a picture, and the search for the window of one video that another video shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.frame_signature import SIDE, SIGNATURE_BYTES

Floats = NDArray[np.float32]
_Margins = tuple[tuple[float, float], ...]

_COARSE = (0.0, 0.04, 0.08, 0.12)  # margins of a side that the first search tries
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
    cells = cells - cells.mean(1, keepdims=True)
    length = np.linalg.norm(cells, axis=1, keepdims=True)
    return cells / np.maximum(length, 1e-6)


def blurred(pictures: Floats) -> Floats:
    """Return pictures [n, SIGNATURE_BYTES] with each cell averaged with its neighbors (1, 2, 1), normalized."""
    square = np.pad(pictures.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = square[:, :-2] + 2 * square[:, 1:-1] + square[:, 2:]
    return normalized(rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:])


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
    R and Y C X^T; its square is the inner product of R^T R and (X C^T) (X C^T)^T; its sum is the inner product of the
    sums of R and X C^T. For all windows together these are three matrix products.
    """
    x, y = (some.reshape(-1, 1, SIDE, SIDE) for some in (pictures, others))
    by_row, by_column = stretches(rows), stretches(columns)
    through: Floats = x @ by_column.swapaxes(1, 2)  # [n, columns, SIDE, SIDE]
    common = _inner(y @ by_column @ x.swapaxes(2, 3), by_row)
    square = _inner(through @ through.swapaxes(2, 3), by_row.swapaxes(1, 2) @ by_row)
    total = through.sum(3) @ by_row.sum(1).T
    correlation = common / np.sqrt(np.maximum(square - total**2 / SIGNATURE_BYTES, 1e-12))  # `others` have zero mean
    column, row = np.unravel_index(int(np.argmax(np.median(correlation, axis=0))), correlation.shape[1:])
    return Window(*rows[row], *columns[column])


def _inner(matrices: NDArray[Any], others: Floats) -> Floats:
    """Return the inner products of matrices [n, c, SIDE, SIDE] with others [r, SIDE, SIDE]: [n, c, r]."""
    products: Floats = matrices.reshape(*matrices.shape[:2], -1) @ others.reshape(len(others), -1).T
    return products
