"""Technical measures of pictures, independent of their content: pure functions on luma, without a decoder.

`resample`         the picture without its bars as a small square, for signatures and comparisons
`tile_detail`      sharpness of each tile
`grid_steps`       visibility of the 8 x 8 block grid of strong compression
`comb_share`       share of pixels that show interlacing where something moves
`change`           difference between two pictures

Luma is uint8 [height, width] as coded; `to_full_range` stretches limited-range luma (16 to 235) to 0 to 255.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]

TILES = 8
BLACK = 20  # full range: black bars and fades to black, with compression noise
_BLACK_PICTURE_SHARE = 0.98
_GRID = 8
_MAX_STEP = 24  # a larger step is an edge in the picture
_INVISIBLE_STEP = 0.5  # gray levels
_COMB_STEP, _COMB_SIMILARITY = 14, 10  # gray levels
_MIN_DIFFERENCE = 6  # gray levels between two frames that are not compression noise


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


def to_full_range(luma: Luma) -> Luma:
    """Stretch limited-range luma: 16 becomes 0, 235 becomes 255."""
    return np.frombuffer(luma.tobytes().translate(_FULL_RANGE), np.uint8).reshape(luma.shape)


_FULL_RANGE = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8).tobytes()


def resample(gray: Luma, box: Box, frame: tuple[int, int], size: int) -> Luma:
    """Resample the part `box` of a frame to a square: uint8 [size, size], each value the mean of its area.

    `gray` is a small picture of the whole frame; `box` is in pixels of the frame, whose (height, width) is `frame`.
    """
    if gray.shape == (2 * size, 2 * size) and box == (0, 0, frame[1], frame[0]):
        return _halved(gray)
    rows = _areas(box.top / frame[0], (box.top + box.height) / frame[0], gray.shape[0], size)
    columns = _areas(box.left / frame[1], (box.left + box.width) / frame[1], gray.shape[1], size)
    return np.rint(rows @ gray.astype(np.float64) @ columns.T).astype(np.uint8)


def _halved(gray: Luma) -> Luma:
    """Return the mean of each 2 x 2 pixels: exactly what the weights of `_areas` give, in a fifth of the time."""
    above, below = gray[::2], gray[1::2]
    sums = above[:, ::2].astype(np.uint16)
    for pixels in (above[:, 1::2], below[:, ::2], below[:, 1::2]):
        sums += pixels
    return np.rint(sums / 4).astype(np.uint8)


@functools.lru_cache(maxsize=16)  # all frames of a video have the same box
def _areas(start: float, end: float, cells: int, size: int) -> NDArray[np.float64]:
    """Return weights [size, cells]: the share of each cell in each of `size` equal parts of [start, end]."""
    edges = np.linspace(start * cells, end * cells, size + 1)
    lower, upper = edges[:-1, None], edges[1:, None]
    cell = np.arange(cells)
    overlap = np.clip(np.minimum(upper, cell + 1) - np.maximum(lower, cell), 0, None)
    return overlap / overlap.sum(1, keepdims=True)


def tile_detail(gray: Luma) -> NDArray[np.float32]:
    """Return the variance of the Laplacian in each of 8 x 8 tiles of a picture [>= 26, >= 26]: float32 [8, 8]."""
    y = gray.astype(np.int16)
    laplacian = 4 * y[1:-1, 1:-1]
    for neighbor in (y[:-2, 1:-1], y[2:, 1:-1], y[1:-1, :-2], y[1:-1, 2:]):
        laplacian -= neighbor
    height, width = (side // TILES for side in laplacian.shape)
    tiles = laplacian[: TILES * height, : TILES * width].reshape(TILES, height, TILES, width).astype(np.float32)
    sums = tiles.sum(1, keepdims=True).sum(3, keepdims=True)  # of integers, below 2**24: exact in any order
    tiles -= sums / np.float32(height * width)
    tiles *= tiles
    found: NDArray[np.float32] = tiles.mean((1, 3))
    return found


def sharpness(detail: NDArray[np.float32], box: Box, frame: tuple[int, int]) -> float:
    """Return the 90th percentile of the detail of the tiles [8, 8] inside `box`.

    With it, an object in front of a blurred background counts as sharp, and a logo on a blurred picture does not.
    """
    lines = np.arange(TILES + 1) / TILES
    rows = (lines[:-1] >= box.top / frame[0]) & (lines[1:] <= (box.top + box.height) / frame[0])
    columns = (lines[:-1] >= box.left / frame[1]) & (lines[1:] <= (box.left + box.width) / frame[1])
    inside = detail[np.ix_(rows, columns)]
    return float(np.quantile(inside if inside.size else detail, 0.9))


def grid_steps(luma: Luma) -> float:
    """Return the mean step between pixels at the edges of 8 x 8 blocks over that inside them; 1 without a grid.

    Inside a block only every other position counts, so that a picture upscaled by 2 shows no grid. `luma` is [H, W],
    both at least 16, cut from the frame at multiples of 8.
    """
    y = luma.astype(np.int16)
    return (_steps(np.diff(y, axis=1)) + _steps(np.diff(y, axis=0).T)) / 2


def _steps(steps: NDArray[np.int16]) -> float:
    """Return the ratio for the steps from each column to the next, [n, m]; overwrites them."""
    np.abs(steps, out=steps)
    np.clip(steps, 0, _MAX_STEP, out=steps)  # np.minimum with a number takes eight times as long
    means = steps.sum(0, dtype=np.int32) / len(steps)
    whole = len(means) // _GRID * _GRID
    by_phase = means[:whole].reshape(-1, _GRID).mean(0)
    return float((by_phase[-1] + _INVISIBLE_STEP) / (by_phase[1:-1:2].mean() + _INVISIBLE_STEP))


def comb_share(luma: Luma) -> float:
    """Return the share of pixels that differ from both neighboring rows, which are similar, but not from the row after.

    The two fields of an interlaced frame give this pattern at moving edges.
    """
    y = luma.astype(np.int16)
    differs = np.abs(y[1:] - y[:-1]) > _COMB_STEP  # from the next row
    is_similar = np.abs(y[2:] - y[:-2]) < _COMB_SIMILARITY  # to the row after that
    combed = differs[:-2] & differs[1:-1] & is_similar[:-1] & is_similar[1:]
    return _share(combed)


def is_black(picture: Luma) -> bool:
    """Whether nearly all of a picture (full range) is black."""
    return _share(picture <= BLACK) >= _BLACK_PICTURE_SHARE


class Change(NamedTuple):
    """Difference between two pictures."""

    mean: float  # gray levels
    share: float  # of the pixels that differ by more than compression noise


def change(one: Luma, other: Luma) -> Change:
    """Compare two small pictures of the same shape."""
    difference = np.abs(one.astype(np.int16) - other)
    return Change(float(difference.mean()), _share(difference > _MIN_DIFFERENCE))


def _share(flags: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(flags)) / flags.size
