"""Geometry of frames: orientation, pixel aspect ratio, crops, and the scaled center crop. Pure arithmetic.

Pixels are made square (sample aspect ratio), the short side is scaled to the output size, and the center square is cut
out. The square is rotated and mirrored last: a center crop is the same before and after. Black bars, if any, are cut
off first (`coded_crop`), so that a file with bars gives the same square as the same file without them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

Crop = tuple[int, int, int, int]
"""Left, top, width, height of a rectangle in displayed pixels."""

_MAX_PIXEL_ASPECT = 16


@dataclass(frozen=True)
class Orientation:
    """How a coded picture becomes the displayed one: mirrored left to right if `flip`, then rotated."""

    turns: int = 0  # quarter turns counter-clockwise, as in numpy.rot90
    flip: bool = False

    @property
    def swaps_sides(self) -> bool:
        """Whether the rotation exchanges width and height."""
        return self.turns % 2 == 1


# EXIF tag 274 (Orientation); 1 is upright.
EXIF_ORIENTATIONS = {
    2: Orientation(0, flip=True),
    3: Orientation(2),
    4: Orientation(2, flip=True),
    5: Orientation(1, flip=True),
    6: Orientation(3),
    7: Orientation(3, flip=True),
    8: Orientation(1),
}


def orientation_from_matrix(matrix: Sequence[int]) -> Orientation:
    """Convert FFmpeg's display matrix (9 integers, row by row) to the nearest quarter turn.

    The matrix maps a coded point (x, y), y downwards, to (m0 x + m3 y, m1 x + m4 y).
    """
    m0, m1, m3, m4 = (float(matrix[i]) for i in (0, 1, 3, 4))
    flip = m0 * m4 - m1 * m3 < 0
    if flip:  # the matrix is mirror, then rotation: undo the mirror
        m0, m1 = -m0, -m1
    clockwise = math.degrees(math.atan2(m1, m0))
    return Orientation(round(-clockwise / 90) % 4, flip)


@dataclass(frozen=True)
class CenterCrop:
    """Resize a coded picture to `width` x `height`, then cut the square that starts at column `left`, row `top`."""

    width: int
    height: int
    left: int
    top: int


def center_crop(width: int, height: int, sar: Fraction, size: int) -> CenterCrop:
    """Return the center crop of `size` pixels of a coded picture whose pixels are `sar` times as wide as high."""
    display_width = width * sar
    scale = Fraction(size) / min(display_width, Fraction(height))
    scaled_width, scaled_height = max(size, round(display_width * scale)), max(size, round(height * scale))
    return CenterCrop(scaled_width, scaled_height, (scaled_width - size) // 2, (scaled_height - size) // 2)


def coded_crop(crop: Crop, displayed: tuple[int, int], coded: tuple[int, int], orientation: Orientation) -> Crop:
    """Convert a crop in displayed pixels to (left, top, width, height) in coded pixels.

    `displayed` and `coded` are (width, height). Edges are moved inwards to even pixels: chroma planes of half the
    size need even ones, and moving inwards leaves no line of a bar.
    """
    left, top, width, height = crop
    x0, x1 = Fraction(left, displayed[0]), Fraction(left + width, displayed[0])
    y0, y1 = Fraction(top, displayed[1]), Fraction(top + height, displayed[1])
    for _ in range(orientation.turns):  # undo one counter-clockwise quarter turn: the top was the right side
        x0, x1, y0, y1 = 1 - y1, 1 - y0, x0, x1
    if orientation.flip:
        x0, x1 = 1 - x1, 1 - x0
    (left, right), (top, bottom) = _even_range(x0, x1, coded[0]), _even_range(y0, y1, coded[1])
    return left, top, right - left, bottom - top


def _even_range(start: Fraction, end: Fraction, size: int) -> tuple[int, int]:
    """Return the part [start, end] of a side of `size` pixels as even pixels; the picture's own end may be odd."""
    first = math.ceil(start * size / 2) * 2
    last = size if end >= 1 else math.floor(end * size / 2) * 2
    if last - first < 2:  # thinner than two pixels: take the nearest two
        first = min(first, max(0, size - 2) // 2 * 2)
        last = min(size, first + 2)
    return first, last


def display_size(width: int, height: int, sar: Fraction, orientation: Orientation) -> tuple[int, int]:
    """Return (width, height) in square pixels as displayed; the side that is not stretched keeps its pixels."""
    if sar >= 1:
        width = max(1, round(width * sar))
    else:
        height = max(1, round(height / sar))
    return (height, width) if orientation.swaps_sides else (width, height)


def pixel_aspect_ratio(sar: Fraction | None) -> Fraction:
    """Return a usable sample aspect ratio: 1 where it is unknown or beyond 16 to 1."""
    if sar is None or not Fraction(1, _MAX_PIXEL_ASPECT) <= sar <= _MAX_PIXEL_ASPECT:
        return Fraction(1)
    return sar
