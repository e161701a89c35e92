"""Edits of gray frames as copies of videos have them: crops, logos, black bars, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.analysis.frame_signature import GRAY_SIDE

Grays = Sequence[NDArray[np.uint8]]


def crop(grays: Grays, margin: int) -> list[NDArray[np.uint8]]:
    """Return the frames without `margin` of 64 pixels on each side, resized to the full frame."""
    inner = [Image.fromarray(g[margin : GRAY_SIDE - margin, margin : GRAY_SIDE - margin]) for g in grays]
    return [np.asarray(picture.resize((GRAY_SIDE, GRAY_SIDE), Image.Resampling.BILINEAR)) for picture in inner]


def logo(grays: Grays) -> list[NDArray[np.uint8]]:
    """Return the frames with a bright logo at the upper right."""
    marked = [gray.copy() for gray in grays]
    for gray in marked:
        gray[4:14, 46:60] = 250
    return marked


def globe(grays: Grays) -> list[NDArray[np.uint8]]:
    """Return the part of the frames within a disc, darkened, on black."""
    y, x = np.mgrid[:GRAY_SIDE, :GRAY_SIDE]
    inside = (x - 26) ** 2 + (y - 32) ** 2 < 17**2
    return [np.where(inside, gray // 6, 0).astype(np.uint8) for gray in grays]


def barred(grays: Grays) -> list[NDArray[np.uint8]]:
    """Return the frames between two black bars, each a fifth of the height."""
    bar = GRAY_SIDE // 5
    small = [Image.fromarray(g).resize((GRAY_SIDE, GRAY_SIDE - 2 * bar), Image.Resampling.BILINEAR) for g in grays]
    return [np.pad(np.asarray(picture), ((bar, bar), (0, 0))) for picture in small]


def noisy(grays: Grays) -> list[NDArray[np.uint8]]:
    """Return the frames with less contrast and with noise."""
    rng = np.random.default_rng(5)
    return [np.clip(g * 0.7 + 40 + rng.normal(0, 6, g.shape), 0, 255).astype(np.uint8) for g in grays]
