"""A sample of a frame: the picture as `SIDE` x `SIDE` gray levels, which near-duplicates are found and verified by.

The sample is a plain area-averaged thumbnail and no hash, as both uses need different things of it: keys are bits
of its cosine transform, and a comparison shifts and scales it, and looks at what moves between two of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIDE = 16
SIGNATURE_BYTES = SIDE * SIDE
GRAY_SIDE = 64
VERSION = 2  # counts up when the same picture would give another sample

MIN_CONTRAST = 5.0  # gray levels, standard deviation over the cells
_LEAST_DETAIL = 0.08  # share of cells that differ from the most of them
_DIFFERENT = 6.0  # gray levels


def frame_signature(gray: NDArray[np.uint8]) -> bytes:
    """Return the sample of a frame: `SIGNATURE_BYTES` gray levels, row by row.

    `gray` is uint8 [64, 64]: the luma of the picture without its bars, stretched to a square. Raises ValueError for
    another shape or dtype.
    """
    if gray.shape != (GRAY_SIDE, GRAY_SIDE) or gray.dtype != np.uint8:
        raise ValueError(f"gray must be uint8 [{GRAY_SIDE}, {GRAY_SIDE}], got {gray.dtype} {list(gray.shape)}")
    cell = GRAY_SIDE // SIDE
    sums = gray.reshape(SIDE, cell, SIDE, cell).sum((1, 3), dtype=np.uint32)
    return ((sums + cell * cell // 2) // (cell * cell)).astype(np.uint8).tobytes()


def signature_pictures(samples: Sequence[bytes]) -> NDArray[np.uint8]:
    """Return samples as pictures [n, SIDE, SIDE]; raises ValueError where one has another length."""
    if any(len(sample) != SIGNATURE_BYTES for sample in samples):
        lengths = sorted({len(sample) for sample in samples})
        raise ValueError(f"a sample of a frame has {SIGNATURE_BYTES} bytes, got {lengths}")
    return np.frombuffer(b"".join(samples), np.uint8).reshape(-1, SIDE, SIDE)


def is_flat(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return for pictures [n, SIDE, SIDE] which have too little in them to be told from others: [n].

    Black, white, one color, a few words on a plain ground.
    """
    cells = pictures.reshape(len(pictures), SIGNATURE_BYTES).astype(np.float32)
    middle = np.sort(pictures.reshape(len(pictures), SIGNATURE_BYTES), axis=1)[:, SIGNATURE_BYTES // 2]
    off = np.abs(cells - middle[:, None]) > _DIFFERENT
    return (cells.std(1) < MIN_CONTRAST) | (off.mean(1) < _LEAST_DETAIL)
