"""What can be said about pictures without knowing what they show: pure functions on luma, no decoder.

`find_picture`     where the picture lies between black bars
`square`           the picture without its bars, small, for signature and comparison
`tile_detail`      how sharp each part of it is
`grid_steps`       how far the 8 x 8 grid of a heavy compression shows
`comb_share`       how much of it is torn into lines, as interlaced frames are where something moves
`change`           how much differs between two pictures

Luma is uint8 [height, width] as coded; `to_full_range` stretches that of video (16 to 235) to 0 to 255.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]

TILES = 8
_BLACK = 20  # full range: bars, and fades to black, with the noise that compression adds
_BLACK_PICTURE_SHARE = 0.98
_MOST, _LITTLE = 0.85, 0.5  # share of a row that is picture: inside, and in a bar with subtitles
_SPECKS, _RIM, _STRAIGHT = 0.05, 0.25, 0.7  # lit in a clean bar, in a dark rim beside it; of what lines inside are lit
_SOFT_EDGE_SHARE = 1 / 120  # how far the edge of a bar may blur into it
_GRID = 8
_LARGEST_STEP = 24  # more is an edge of the picture, whatever the grid
_NO_STEP = 0.5  # gray levels that nobody sees
_COMB_STEP, _COMB_LIKE = 14, 10
_DIFFERS = 6  # gray levels between two looks at one place that are no compression noise


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


def to_full_range(luma: Luma) -> Luma:
    """Stretch limited-range luma: 16 becomes 0, 235 becomes 255."""
    return np.take(_FULL_RANGE, luma, mode="clip")


_FULL_RANGE = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


def find_picture(brightest: Luma) -> Box:
    """Return where the picture lies, given the brightest value (full range) that each pixel ever had, [H, W].

    A row or column is picture where nearly all of it was ever lit; so a bar stays one with subtitles or a logo in
    it, and with a dark scene beside it. A bar must end in an edge: where light fades out towards the rim, or only
    parts of the rim are ever lit, all of the frame is picture, unless those parts all end on one straight line.
    """
    lit = brightest > _BLACK
    height, width = lit.shape
    top, bottom, left, right = 0, height, 0, width
    if lit.any():
        rows, columns = lit.mean(1), lit.mean(0)
        top, bottom = _run(rows, rows.max() / 2)
        left, right = _run(columns, columns.max() / 2)
        for _ in range(3):  # bars on all four sides: each pair hides how full the lines of the other are
            top, bottom = _between_edges(lit[:, left:right].mean(1))
            left, right = _between_edges(lit[top:bottom].mean(0))
    return Box(left, top, right - left, bottom - top)


def _run(shares: NDArray[np.float64], least: float) -> tuple[int, int]:
    found = np.flatnonzero(shares >= least)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, len(shares))


def _between_edges(shares: NDArray[np.float64]) -> tuple[int, int]:
    start, end = _run(shares, _MOST)
    soft = max(2, round(len(shares) * _SOFT_EDGE_SHARE))
    if start and shares[max(0, start - soft - 1) : max(1, start - soft)].max() > _LITTLE:
        start = _straight_edge(shares, soft)
    if end < len(shares) and shares[min(end + soft, len(shares) - 1) : end + soft + 1].max() > _LITTLE:
        end = len(shares) - _straight_edge(shares[::-1], soft)
    return start, end


def _straight_edge(shares: NDArray[np.float64], soft: int) -> int:
    """Return where a bar with nothing in it ends at a picture that is dark in parts there (a black coat), or 0.

    What is round or ragged against the dark grows from line to line; what a bar cuts off begins at its width.
    """
    first = int(np.argmax(shares > _SPECKS))
    near, inside = (shares[min(first + lines, len(shares) - 1)] for lines in (soft, 3 * soft))
    return first if first > soft and near >= max(_RIM, _STRAIGHT * inside) else 0


def square(gray: Luma, box: Box, frame: tuple[int, int], size: int) -> Luma:
    """Cut `box` (in pixels of a frame of height and width `frame`) out of a small picture of that frame.

    Returns uint8 [size, size], each value the mean of the area that it covers.
    """
    rows = _areas(box.top / frame[0], (box.top + box.height) / frame[0], gray.shape[0], size)
    columns = _areas(box.left / frame[1], (box.left + box.width) / frame[1], gray.shape[1], size)
    return np.rint(rows @ gray.astype(np.float64) @ columns.T).astype(np.uint8)


@functools.lru_cache(maxsize=16)  # all looks at a video have one box
def _areas(start: float, end: float, cells: int, size: int) -> NDArray[np.float64]:
    """Return weights [size, cells]: how much of each cell lies in each of `size` equal parts of start to end."""
    edges = np.linspace(start * cells, end * cells, size + 1)
    lower, upper = edges[:-1, None], edges[1:, None]
    cell = np.arange(cells)
    covered = np.clip(np.minimum(upper, cell + 1) - np.maximum(lower, cell), 0, None)
    return covered / covered.sum(1, keepdims=True)


def tile_detail(gray: Luma) -> NDArray[np.float32]:
    """Return the variance of the Laplacian in each of 8 x 8 tiles of a picture [>= 26, >= 26]: float32 [8, 8]."""
    y = gray.astype(np.int16)
    laplacian = 4 * y[1:-1, 1:-1] - y[:-2, 1:-1] - y[2:, 1:-1] - y[1:-1, :-2] - y[1:-1, 2:]
    height, width = (side // TILES for side in laplacian.shape)
    tiles = laplacian[: TILES * height, : TILES * width].reshape(TILES, height, TILES, width).astype(np.float32)
    return tiles.var((1, 3))


def sharpness(detail: NDArray[np.float32], box: Box, frame: tuple[int, int]) -> float:
    """Return the detail that a tenth of the tiles within the box exceed, for tiles [8, 8] of a picture.

    A tenth: what stands before a blurred background is sharp, a logo on a blurred picture does not make it so.
    """
    lines = np.arange(TILES + 1) / TILES
    rows = (lines[:-1] >= box.top / frame[0]) & (lines[1:] <= (box.top + box.height) / frame[0])
    columns = (lines[:-1] >= box.left / frame[1]) & (lines[1:] <= (box.left + box.width) / frame[1])
    inside = detail[np.ix_(rows, columns)]
    return float(np.quantile(inside if inside.size else detail, 0.9))


def grid_steps(luma: Luma) -> float:
    """Return the mean step between pixels at the edges of 8 x 8 blocks over that within them: 1 where no grid shows.

    Within them at every other place only, so that a picture scaled up from half its size shows no grid. `luma` is
    [H, W], both at least 16, cut from the frame at a multiple of 8.
    """
    y = luma.astype(np.int16)
    return (_steps(np.abs(np.diff(y, axis=1))) + _steps(np.abs(np.diff(y, axis=0)).T)) / 2


def _steps(steps: NDArray[np.int16]) -> float:
    whole = steps.shape[1] // _GRID * _GRID
    by_phase = np.minimum(steps[:, :whole], _LARGEST_STEP).mean(0).reshape(-1, _GRID).mean(0)
    return float((by_phase[-1] + _NO_STEP) / (by_phase[1:-1:2].mean() + _NO_STEP))


def comb_share(luma: Luma) -> float:
    """Return the share of pixels that differ from the rows above and below, which are alike, and resemble the next.

    That is what two fields of one frame make of an edge that moves.
    """
    y = luma.astype(np.int16)
    above, row, below, next_row = y[:-3], y[1:-2], y[2:-1], y[3:]
    torn = (np.abs(row - above) > _COMB_STEP) & (np.abs(row - below) > _COMB_STEP)
    torn &= (np.abs(above - below) < _COMB_LIKE) & (np.abs(row - next_row) < _COMB_LIKE)
    return float(torn.mean())


def is_black(picture: Luma) -> bool:
    """Whether nearly all of a picture (full range) is black."""
    return float((picture <= _BLACK).mean()) >= _BLACK_PICTURE_SHARE


class Change(NamedTuple):
    """What differs between two pictures."""

    mean: float  # gray levels
    share: float  # of the cells, those that differ by more than compression makes them


def change(one: Luma, other: Luma) -> Change:
    """Compare two small pictures of the same shape."""
    difference = np.abs(one.astype(np.int16) - other)
    return Change(float(difference.mean()), float((difference > _DIFFERS).mean()))
