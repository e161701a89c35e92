"""The signature of a frame: a gray thumbnail of `SIDE` x `SIDE`, which near-duplicates are found and verified by.

It is an area-averaged thumbnail and not a hash, because both uses need different features of it: LSH keys are bits of
its cosine transform, and verification shifts and scales it and compares what moves between two signatures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIDE = 16
SIGNATURE_BYTES = SIDE * SIDE
GRAY_SIDE = 64
VERSION = 4  # increment when the same picture gives another signature

MIN_CONTRAST = 5.0  # gray levels, standard deviation over the cells
_MIN_DETAIL = 0.08  # share of cells that differ from the median cell
_MIN_DIFFERENCE = 6.0  # gray levels


def frame_signature(gray: NDArray[np.uint8]) -> bytes:
    """Return the signature of a frame: `SIGNATURE_BYTES` gray levels, row by row.

    `gray` is uint8 [64, 64]: the luma of the picture without black bars, stretched to a square. Raises ValueError for
    another shape or dtype.
    """
    if gray.shape != (GRAY_SIDE, GRAY_SIDE) or gray.dtype != np.uint8:
        raise ValueError(f"gray must be uint8 [{GRAY_SIDE}, {GRAY_SIDE}], got {gray.dtype} {list(gray.shape)}")
    cell = GRAY_SIDE // SIDE
    sums = gray.reshape(SIDE, cell, SIDE, cell).sum((1, 3), dtype=np.uint32)
    return ((sums + cell * cell // 2) // (cell * cell)).astype(np.uint8).tobytes()


def signature_pictures(signatures: Sequence[bytes]) -> NDArray[np.uint8]:
    """Return signatures as pictures [n, SIDE, SIDE]. Raises ValueError for a signature of another length."""
    if any(len(signature) != SIGNATURE_BYTES for signature in signatures):
        lengths = sorted({len(signature) for signature in signatures})
        raise ValueError(f"a frame signature has {SIGNATURE_BYTES} bytes, got {lengths}")
    return np.frombuffer(b"".join(signatures), np.uint8).reshape(-1, SIDE, SIDE)


def as_pictures(signatures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return signatures [n, SIGNATURE_BYTES] as pictures [n, SIDE, SIDE]. Raises ValueError for another length."""
    if len(signatures) and signatures.shape[1] != SIGNATURE_BYTES:
        raise ValueError(f"a frame signature has {SIGNATURE_BYTES} bytes, got [{signatures.shape[1]}]")
    return signatures.reshape(-1, SIDE, SIDE)


def is_flat(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which of the pictures [n, SIDE, SIDE] have too little detail to identify a frame: [n].

    For example black, white, one color, or a few words on a plain background.
    """
    cells = pictures.reshape(len(pictures), SIGNATURE_BYTES).astype(np.float32)
    median = np.sort(cells, axis=1)[:, SIGNATURE_BYTES // 2]  # as float32, 30 times as fast as bytes
    differs = np.abs(cells - median[:, None]) > _MIN_DIFFERENCE
    return (cells.std(1) < MIN_CONTRAST) | (differs.mean(1) < _MIN_DETAIL)
