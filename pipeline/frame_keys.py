"""Keys of frame samples: signs of low cosine coefficients, which bring copies together.

A picture is turned into the signs of its low cosine coefficients, which fade from its middle; and so are two of its
windows. Each table takes some of the signs, the same ones always, and also with its least certain sign turned round.
Copies agree in most signs, so in all of some table's for some sample; where one is a crop of the other, its pictures
agree with the other's windows. About 0.3 ms for 8 samples.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.frame_run import Floats, stretch
from pipeline.signature import SIDE

_SEED = 20240229  # of the choice of signs; a constant, as keys of different seeds do not meet
_LOW = 7  # coefficients a side
_SIGMA = 0.3  # of the picture's side: how fast they fade from the middle, as crops and logos change the edges most
_MARGINS = (0.035, 0.07)  # of the windows


def sign_keys(pictures: NDArray[np.uint8], *, tables: int, bits: int) -> NDArray[np.uint64]:
    """Return keys [n, 6 * tables] of pictures [n, SIDE, SIDE]: the number of a table, and the signs that it takes.

    Each once as it is, and once with the least certain of its signs turned round.
    """
    cells = pictures.reshape(-1, SIDE * SIDE).astype(np.float32)
    waves = (cells @ _waves().T).reshape(len(cells), 1 + len(_MARGINS), _LOW**2 - 1)
    taken = waves[..., _choice(tables, bits)]  # [n, views, tables, bits]
    places = 2.0 ** np.arange(bits)
    keys = ((taken > 0) @ places).astype(np.uint64) + (np.arange(tables, dtype=np.uint64) << np.uint64(56))
    turned = keys ^ places.astype(np.uint64)[np.abs(taken).argmin(-1)]
    return np.stack([keys, turned], axis=-1).reshape(len(cells), 2 * tables * (1 + len(_MARGINS)))


@cache
def _waves() -> Floats:
    """Cosines [views * (_LOW ** 2 - 1), SIDE * SIDE] of the lowest frequencies, fading from the middle of each view.

    None has a mean, so that the brightness of a picture does not count.
    """
    angle = np.pi * np.outer(np.arange(_LOW), np.arange(SIDE) + 0.5) / SIDE
    waves = np.einsum("uy,vx->uvyx", np.cos(angle), np.cos(angle)).reshape(_LOW**2, -1)[1:]
    away = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    fading = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / (2 * _SIGMA**2)).reshape(-1)
    waves = waves * fading
    square = (waves - waves.sum(1, keepdims=True) * fading / fading.sum()).reshape(-1, SIDE, SIDE)
    views = [square, *(stretch(m, m).T @ square @ stretch(m, m) for m in _MARGINS)]  # of the view, not its picture
    return np.concatenate(views).reshape(-1, SIDE * SIDE).astype(np.float32)


@cache
def _choice(tables: int, bits: int) -> NDArray[np.int64]:
    rng = np.random.Generator(np.random.PCG64(_SEED))
    return np.stack([rng.permutation(_LOW**2 - 1)[:bits] for _ in range(tables)])
