"""Converts a Pillow picture of any mode to 8-bit RGB.

Transparent pixels are composited over white. Color profiles are not applied, except that CIE Lab is converted to sRGB.
Samples of 8 to 16 bits lose their low bits. Pictures of floating-point numbers or 32-bit integers have no fixed white:
it is 1.0 if all values are from 0 to 1, and 255 or 65535 if all are integers from 0 to there, provided that the largest
reaches a quarter of it; otherwise the values are stretched from the smallest to the largest. Infinite values become
black or white, and NaN black.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.scale import over_white

DEEP_MODES = {"I;16", "I;16B", "I;16L", "I;16N"}
_UNSCALED_MODES = {"I", "F"}
_MIN_REACH = 0.25  # of white: a picture that is darker is more likely on another scale
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 2


def rgb_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return the picture as uint8 RGB [height, width, 3], not rotated."""
    if image.mode in DEEP_MODES:
        gray = _deep_gray(image)
    elif image.mode in _UNSCALED_MODES:
        gray = _unscaled_gray(image)
    elif image.mode == "L" and _tag(image, _SAMPLE_FORMAT) == _SIGNED:
        gray = np.asarray(image) ^ np.uint8(0x80)  # from -128 to 127
    else:
        return _color(image)
    return np.repeat(gray[..., None], 3, axis=2)


def _color(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "LAB":
        return np.asarray(_lab_to_srgb(image))
    straight = {"RGBa": "RGBA", "La": "LA"}.get(image.mode)  # from premultiplied alpha
    image = image.convert(straight) if straight else image
    if image.has_transparency_data:
        return over_white(np.asarray(image.convert("RGBA")))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _deep_gray(image: Image.Image) -> NDArray[np.uint8]:
    samples = np.asarray(image)
    gray = (samples >> (bit_depth(image) - 8)).clip(0, 255).astype(np.uint8)
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        gray = 255 - gray
    if isinstance(transparent := image.info.get("transparency"), int):
        gray[samples == transparent] = 255
    return gray


def _unscaled_gray(image: Image.Image) -> NDArray[np.uint8]:
    samples: NDArray[Any] = np.asarray(image)
    if image.mode == "I" and _tag(image, _BITS_PER_SAMPLE) == 32 and _tag(image, _SAMPLE_FORMAT) in (None, _UNSIGNED):
        samples = samples.view(np.uint32)  # Pillow reads them as signed
    gray = stretch(samples.astype(np.float64))
    return 255 - gray if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO else gray


def stretch(samples: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return samples without a fixed white as gray levels; see the top of this module."""
    finite = samples[np.isfinite(samples)]
    black, white = _range(finite) if finite.size else (0.0, 1.0)
    span = white - black if white > black else np.inf  # one value only: black
    levels = np.nan_to_num(np.clip(samples, black, white) - black, nan=0.0) / span
    return np.rint(levels * 255).astype(np.uint8)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    whites = (1, 255, 65535) if np.array_equal(values, np.rint(values)) else (1,)
    white = next((white for white in whites if high <= white), None)
    if white is not None and low >= 0 and high >= _MIN_REACH * white:
        return 0.0, float(white)
    return low, high


def bit_depth(image: Image.Image) -> int:
    """Return the bits per sample of a picture, as far as Pillow keeps them: 8, or up to 16 for gray ones."""
    if image.mode not in DEEP_MODES:
        return 8
    bits = _tag(image, _BITS_PER_SAMPLE)
    return bits if bits is not None and 8 <= bits <= 16 else 16


def _tag(image: Image.Image, tag: int) -> int | None:
    """Return the first value of a TIFF tag; None for other formats."""
    values = getattr(image, "tag_v2", {}).get(tag)
    value = values[0] if isinstance(values, tuple) and values else values
    return value if isinstance(value, int) else None


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # LittleCMS is needed for these pictures only

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # unless in place
    return converted
