"""JPEG and WebP at the size of a frame's codes: what the same bytes buy without a model.

A frame is made smaller, too, before it is compressed, and larger again, where that gives the better picture: at a few
hundredths of a bit a pixel it always does. Counted are the bytes that differ from frame to frame. What a receiver could
know beforehand is free: JPEG's headers with its standard tables, WebP's container and key frame header. Of all scales
and qualities that fit, the one of the smallest squared error is taken, for each frame anew.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frame = NDArray[np.uint8]  # [H, W, 3]
Format = Literal["JPEG", "WEBP"]

_SCALES = (1, 1.5, 2, 3, 4, 6, 8, 12, 16)
_BEST = 100  # quality
_WEBP_CONTAINER = 20 + 10  # RIFF and VP8 chunk headers; frame tag, start code, width and height


def squeeze(form: Format, frame: Frame, budget: int) -> Frame:
    """Return a frame as it comes back from at most `budget` bytes; its mean color where nothing fits."""
    picture = Image.fromarray(frame)
    best = np.broadcast_to(frame.mean((0, 1)).round().astype(np.uint8), frame.shape)
    error = _error(frame, best)
    for scale in _SCALES:
        size = (max(1, round(picture.width / scale)), max(1, round(picture.height / scale)))
        small = picture.resize(size, Image.Resampling.LANCZOS) if scale > 1 else picture
        coded, quality = _best_quality(form, small, budget)
        if coded is None:
            continue
        with Image.open(io.BytesIO(coded)) as opened:
            found = np.asarray(opened.convert("RGB").resize(picture.size, Image.Resampling.BICUBIC))
        if (off := _error(frame, found)) < error:
            best, error = found, off
        if quality == _BEST:
            break  # a smaller picture can only lose more
    return best


RIVALS: dict[str, Format] = {"jpeg": "JPEG", "webp": "WEBP"}


def squeezed(rival: str, frames: NDArray[np.uint8], budget: int) -> NDArray[np.uint8]:
    """Return frames `[n, H, W, 3]`, n > 0, each as it comes back from `budget` bytes; on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow compresses without Python's lock
        return np.stack(list(pool.map(lambda frame: squeeze(RIVALS[rival], frame, budget), frames)))


def cost(form: Format, coded: bytes) -> int:
    """Return how many bytes of a compressed picture are counted."""
    if form == "WEBP":
        return max(0, len(coded) - _WEBP_CONTAINER)
    at = 2  # each segment of the header: marker, then its length without the marker
    while coded[at : at + 2] != b"\xff\xda":
        at += 2 + int.from_bytes(coded[at + 2 : at + 4], "big")
    start = at + 2 + int.from_bytes(coded[at + 2 : at + 4], "big")
    return len(coded) - start - 2  # the last two end the picture


def _best_quality(form: Format, picture: Image.Image, budget: int) -> tuple[bytes | None, int]:
    """Return the picture at the highest quality that fits, and that quality; None and 0 where none fits."""
    fits, low, high = None, 0, _BEST + 1  # quality `low` fits, or none does yet; `high` does not
    while high - low > 1:
        quality = (low + high) // 2
        coded = _encoded(form, picture, quality)
        if cost(form, coded) <= budget:
            fits, low = coded, quality
        else:
            high = quality
    return fits, low


def _encoded(form: Format, picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    if form == "WEBP":
        picture.save(out, form, quality=quality, method=4)
    else:
        picture.save(out, form, quality=quality, subsampling="4:2:0", optimize=False)
    return out.getvalue()


def _error(a: Frame, b: Frame) -> float:
    return float(np.square(a.astype(np.float32) - b).mean())
