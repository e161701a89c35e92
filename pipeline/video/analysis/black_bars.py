"""Finds the picture between black bars, from the maximum of each pixel over the video: pure functions on luma.

A bar is never lit, uniform, and ends at a straight edge. Two bars on opposite sides are cropped. A bar on one side only
may as well be the dark side of a stage, so it is cropped only where it is narrow and the picture begins at its edge in
most of the sampled frames. White or colored borders are part of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.picture_measures import BLACK, Box, Luma

# Shares of the pixels of a row or column that are lit.
_MIN_PICTURE_SHARE = 0.85  # in the picture
_MAX_BAR_SHARE = 0.5  # in a bar with subtitles or a logo
_MAX_CLEAN_SHARE, _MIN_RIM_SHARE = 0.05, 0.25  # in a clean bar; at a dark edge of the picture next to it
_STRAIGHT_RATIO = 0.7  # lit share at a straight edge over that further inside
_SOFT_EDGE_FRACTION = 1 / 120  # of the side: how far the edge of a bar may blur
_BLOCK = 8  # pixels: means over blocks show texture, but not noise
_MAX_UNEVENNESS, _MIN_EVEN_SHARE = 4, 0.6  # gray levels above the dark quarter of a bar; share of its blocks
_MAX_OPPOSITE_RATIO = 3  # between the widths of two bars on opposite sides
_MAX_ONE_SIDED, _MAX_ONE_SIDED_LEVEL = 0.2, 5  # share of the side; gray levels
_MIN_EDGE_SHARE = 0.5  # of the brightness of the picture, right at its edge
_MAX_LINE = 1 / 128  # share of the side
_MIN_FRAMES, _MIN_STABLE_SHARE = 3, 0.5  # frames that are not black; share of them in which the picture begins there

Frames = Callable[[], Iterable[Luma]]
"""Returns the sampled frames, as small gray pictures of the whole frame (full range)."""


def find_picture(brightest: Luma, frames: Frames) -> Box:
    """Return the picture between black bars. `brightest` is the maximum of each pixel over time (full range), [H, W].

    A row or column belongs to the picture if nearly all of it was lit at some time; subtitles or a logo do not turn a
    bar into picture. A bar must end at an edge: where light fades out towards the border of the frame, or only parts
    of the border are ever lit, the whole frame is picture, unless those parts end on one straight line.
    """
    box = _lit_box(brightest > BLACK)
    top, bottom = _confirmed(brightest, box.top, box.top + box.height, frames)
    left, right = _confirmed(brightest.T, box.left, box.left + box.width, lambda: (frame.T for frame in frames()))
    return Box(left, top, right - left, bottom - top)


def _lit_box(lit: NDArray[np.bool_]) -> Box:
    height, width = lit.shape
    top, bottom, left, right = 0, height, 0, width
    if lit.any():
        rows, columns = lit.mean(1), lit.mean(0)
        top, bottom = _extent(rows, rows.max() / 2)
        left, right = _extent(columns, columns.max() / 2)
        for _ in range(3):  # with bars on all four sides, each pair lowers the lit share of the other's lines
            top, bottom = _between_edges(lit[:, left:right].mean(1))
            left, right = _between_edges(lit[top:bottom].mean(0))
    return Box(left, top, right - left, bottom - top)


def _extent(shares: NDArray[np.float64], minimum: float) -> tuple[int, int]:
    found = np.flatnonzero(shares >= minimum)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, len(shares))


def _between_edges(shares: NDArray[np.float64]) -> tuple[int, int]:
    start, end = _extent(shares, _MIN_PICTURE_SHARE)
    soft = max(2, round(len(shares) * _SOFT_EDGE_FRACTION))
    if start and shares[max(0, start - soft - 1) : max(1, start - soft)].max() > _MAX_BAR_SHARE:
        start = _straight_edge(shares, soft)
    if end < len(shares) and shares[min(end + soft, len(shares) - 1) : end + soft + 1].max() > _MAX_BAR_SHARE:
        end = len(shares) - _straight_edge(shares[::-1], soft)
    return start, end


def _straight_edge(shares: NDArray[np.float64], soft: int) -> int:
    """Return where a clean bar ends at a picture whose edge is partly dark (a black coat); 0 if there is none.

    A round or ragged shape against a dark background widens from line to line; a shape that a bar cuts off starts at
    its full width.
    """
    first = int(np.argmax(shares > _MAX_CLEAN_SHARE))
    near, inside = (shares[min(first + lines, len(shares) - 1)] for lines in (soft, 3 * soft))
    return first if first > soft and near >= max(_MIN_RIM_SHARE, _STRAIGHT_RATIO * inside) else 0


def _confirmed(brightest: Luma, start: int, end: int, frames: Frames) -> tuple[int, int]:
    """Return the first row of the picture and the first after it, without bars above or below that may be content."""
    size = len(brightest)
    soft = max(2, round(size * _SOFT_EDGE_FRACTION))
    above, below = brightest[:start], brightest[end:][::-1]
    bars = [bar if _is_line(bar, size) or _is_uniform(bar, soft) else bar[:0] for bar in (above, below)]
    thin, thick = sorted(len(bar) for bar in bars)
    if not thin or thick > _MAX_OPPOSITE_RATIO * thin:
        is_bar_above = _is_one_sided_bar(bars[0], brightest, soft, frames())
        is_bar_below = _is_one_sided_bar(bars[1], brightest[::-1], soft, (frame[::-1] for frame in frames()))
        bars = [bar if is_bar else bar[:0] for bar, is_bar in zip(bars, (is_bar_above, is_bar_below), strict=True)]
    return len(bars[0]), size - len(bars[1])


def _is_line(bar: Luma, size: int) -> bool:
    """Whether a bar is a dark line at the border, which frames from a capture device often have."""
    return 0 < len(bar) <= _MAX_LINE * size


def _is_uniform(bar: Luma, soft: int) -> bool:
    """Whether a bar, whose last rows may be blurred, has one gray level, apart from lit parts such as subtitles."""
    levels = _unlit_levels(bar[:-soft] if len(bar) > 2 * soft else bar)
    if not len(levels):
        return False
    return bool((levels <= np.quantile(levels, 0.25) + _MAX_UNEVENNESS).mean() >= _MIN_EVEN_SHARE)


def _unlit_levels(bar: Luma) -> NDArray[np.float64]:
    """Return the mean gray level of each block that has no lit pixel."""
    height, width = (min(_BLOCK, side) for side in bar.shape)
    if not height:
        return np.zeros(0)
    rows, columns = bar.shape[0] // height, bar.shape[1] // width
    blocks = bar[: rows * height, : columns * width].reshape(rows, height, columns, width)
    levels: NDArray[np.float64] = blocks.mean((1, 3))[blocks.max((1, 3)) <= BLACK]
    return levels


def _is_one_sided_bar(bar: Luma, brightest: Luma, soft: int, frames: Iterable[Luma]) -> bool:
    """Whether a uniform bar, the first rows of `brightest`, is one although there is no bar on the opposite side."""
    size = len(brightest)
    if _is_line(bar, size):
        return True
    if not 0 < len(bar) <= _MAX_ONE_SIDED * size or np.median(_unlit_levels(bar)) > _MAX_ONE_SIDED_LEVEL:
        return False
    levels = brightest[len(bar) :].mean(1)
    is_sharp = levels[min(soft, len(levels) - 1)] >= _MIN_EDGE_SHARE * np.median(levels)  # light on a stage fades out
    return bool(is_sharp) and _is_stable(len(bar) / size, frames)


def _is_stable(width: float, frames: Iterable[Luma]) -> bool:
    """Whether the picture begins right below a bar of `width` (share of the side) in most frames that are not black."""
    begins = []
    for frame in frames:
        lit = (frame > BLACK).mean(1)
        inside = math.ceil(width * len(lit))
        typical = np.median(lit[inside:])
        if typical > _MAX_CLEAN_SHARE:
            outside = lit[math.floor(width * len(lit)) - 1]
            near = lit[inside : inside + 2].max()
            begins.append(near >= _STRAIGHT_RATIO * typical and outside <= _MAX_BAR_SHARE * near)
    return len(begins) >= _MIN_FRAMES and float(np.mean(begins)) >= _MIN_STABLE_SHARE
