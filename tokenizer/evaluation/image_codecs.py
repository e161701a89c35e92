"""JPEG and WebP at the size of a frame's codes: baselines without a learned model.

A frame can be downscaled before compression and upscaled afterwards: at a few hundredths of a bit per pixel that always
gives the better image. Only bytes that differ between frames are counted. Bytes that a receiver could know beforehand
are free: JPEG's headers with its standard tables, WebP's container and key frame header. For each frame, the scale and
quality with the smallest squared error within the budget are selected.
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


def compress(form: Format, frame: Frame, budget: int) -> Frame:
    """Return a frame compressed to at most `budget` bytes and decoded; its mean color if nothing fits."""
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
            break  # a smaller scale can only be worse
    return best


BASELINES: dict[str, Format] = {"jpeg": "JPEG", "webp": "WEBP"}


def compress_frames(baseline: str, frames: NDArray[np.uint8], budget: int) -> NDArray[np.uint8]:
    """Return frames `[n, H, W, 3]`, n > 0, each compressed to `budget` bytes and decoded; uses all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow releases the GIL
        return np.stack(list(pool.map(lambda frame: compress(BASELINES[baseline], frame, budget), frames)))


def cost(form: Format, coded: bytes) -> int:
    """Return the number of bytes of a compressed image that are counted."""
    if form == "WEBP":
        return max(0, len(coded) - _WEBP_CONTAINER)
    at = 2  # a header segment is a marker, then its length without the marker
    while coded[at : at + 2] != b"\xff\xda":
        at += 2 + int.from_bytes(coded[at + 2 : at + 4], "big")
    start = at + 2 + int.from_bytes(coded[at + 2 : at + 4], "big")
    return len(coded) - start - 2  # without the end-of-image marker


def _best_quality(form: Format, picture: Image.Image, budget: int) -> tuple[bytes | None, int]:
    """Return the image at the highest quality that fits, and that quality; None and 0 if none fits."""
    fits, low, high = None, 0, _BEST + 1  # `low` fits or is 0; `high` does not fit
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
