"""Frames without letters, edges or skin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smooth_frames() -> NDArray[np.uint8]:
    """Return two smooth frames, uint8 [2, 256, 448, 3]."""
    y, x = np.mgrid[:256, :448]
    pictures = [np.stack([(128 + 90 * np.sin(x / a + y / b)) for a, b in ((70, 90), (50, 60), (80, 40))], -1)]
    pictures.append(255 - pictures[0][::-1])
    return np.stack(pictures).astype(np.uint8)
