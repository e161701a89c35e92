"""TIFF files of sample formats that Pillow cannot write, and a gray ramp to put into them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHORT, _LONG = 3, 4


def ramp(height: int = 40, width: int = 60) -> NDArray[np.float64]:
    """Return values from 0 to 1, rising row by row: [height, width]."""
    return np.arange(height * width).reshape(height, width) / (height * width - 1)


def packed_12_bits(samples: NDArray[np.float64]) -> bytes:
    """Return values from 0 to 1 as samples of 12 bits, two in three bytes; the width is even."""
    values = np.rint(samples * 4095).astype(int)
    one, other = values[:, ::2], values[:, 1::2]
    return np.stack([one >> 4, (one & 15) << 4 | other >> 8, other & 255], axis=2).astype(np.uint8).tobytes()


def write_tiff(
    path: Path,
    data: bytes,
    *,
    bits: int,
    sample_format: int = 1,
    photometric: int = 1,
    size: tuple[int, int] = (60, 40),
) -> Path:
    """Write a gray picture of `size` (width, height). `sample_format` is 1 unsigned, 2 signed, 3 floating-point.

    `photometric` is 0 where white is zero and 1 where black is.
    """
    width, height = size
    sizes: dict[int, Any] = {256: (_LONG, width), 257: (_LONG, height), 278: (_LONG, height), 279: (_LONG, len(data))}
    forms = {258: bits, 259: 1, 262: photometric, 277: 1, 339: sample_format}
    tags = sizes | {tag: (_SHORT, value) for tag, value in forms.items()} | {273: (_LONG, 8)}
    directory = b"".join(
        struct.pack("<HHI", tag, kind, 1)
        + (struct.pack("<I", value) if kind == _LONG else struct.pack("<HH", value, 0))
        for tag, (kind, value) in sorted(tags.items())
    )
    header = b"II*\0" + struct.pack("<I", 8 + len(data))
    path.write_bytes(header + data + struct.pack("<H", len(tags)) + directory + struct.pack("<I", 0))
    return path
