"""A table of scores as a picture: a color for each cell, with its figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Viridis at equal distances: readable without color vision and in gray.
_COLORS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], float)
_CELL, _ROW, _MARGIN, _GAP = 76, 34, 14, 8
_EMPTY = (230, 230, 230)


def heat_map(
    title: str, rows: Sequence[str], columns: Sequence[str], scores: Sequence[Sequence[float | None]], *, axes: str
) -> Image.Image:
    """Return a picture of `scores` [rows][columns], from 0 to 1; None is a cell without samples.

    `axes` names what the columns and the rows are.
    """
    font, small = ImageFont.load_default(15), ImageFont.load_default(13)
    left = _MARGIN + max((round(small.getlength(row)) for row in rows), default=0) + _GAP
    top = _MARGIN + 3 * _ROW
    needed = _MARGIN + round(max(font.getlength(title), small.getlength(axes)))
    size = (max(left + _CELL * len(columns), needed) + _MARGIN, top + _ROW * len(rows) + _MARGIN)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, _MARGIN), title, "black", font=font)
    draw.text((_MARGIN, _MARGIN + _ROW * 0.8), axes, (90, 90, 90), font=small)
    for j, column in enumerate(columns):
        draw.text((left + _CELL * (j + 0.5), top - _ROW / 2), column, "black", font=small, anchor="mm")
    for i, row in enumerate(rows):
        middle = top + _ROW * (i + 0.5)
        draw.text((left - _GAP, middle), row, "black", font=small, anchor="rm")
        for j, value in enumerate(scores[i]):
            corner = (left + _CELL * j, top + _ROW * i)
            box = (*corner, corner[0] + _CELL - 2, corner[1] + _ROW - 2)
            color = _EMPTY if value is None else score_color(value)
            draw.rectangle(box, color)
            text = "" if value is None else f"{100 * value:.0f} %"
            ink = "black" if sum(color) > 380 else "white"
            draw.text((corner[0] + _CELL / 2 - 1, middle - 1), text, ink, font=small, anchor="mm")
    return image


def score_color(value: float) -> tuple[int, int, int]:
    """Return the color of a score from 0 to 1."""
    place = min(max(value, 0.0), 1.0) * (len(_COLORS) - 1)
    below = min(int(place), len(_COLORS) - 2)
    red, green, blue = (_COLORS[below] + (place - below) * (_COLORS[below + 1] - _COLORS[below])).round().astype(int)
    return int(red), int(green), int(blue)
