"""Keys of frame samples: signs of low cosine coefficients, which bring copies together.

A picture is seen in several views. Each is turned into the signs of its low cosine coefficients, which fade from its
middle. Each table takes some of the signs, the same ones always, and also with its least certain sign turned round.
Copies agree in most signs, so in all of some table's for some sample. The views:

the picture        what changed little agrees in it
a window of it     where one is a crop of the other, its picture agrees with the other's window
its middle         no logo lies there, nor anything else that was laid over the edges
where its light is around the center of its brightness, as far as it spreads: the same whatever black lies around it,
                   so bars that cannot be told from a dark scene, and were left, do no harm

About 0.6 ms for 8 samples.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.frame_runs import Floats, stretch
from pipeline.video.analysis.frame_signature import MIN_CONTRAST, SIDE

VIEWS = 4
_SEED = 20240229  # of the choice of signs; a constant, as keys of different seeds do not meet
_LOW = 7  # coefficients a side
_SIGMA = 0.3  # of the picture's side: how fast they fade from the middle, as crops and logos change the edges most
_MARGINS = (0.07, 0.24)  # of the window, and of the middle
_FEW_ITEMS = 1 << 12
_SIGNS_A_DOUBLING = 1.5
_SPREAD = 1.9  # standard deviations of the light from its center that are seen of it


def sign_keys(pictures: NDArray[np.uint8], *, tables: int, bits: int) -> NDArray[np.uint64]:
    """Return keys [n, 2 * VIEWS * tables] of pictures [n, SIDE, SIDE]: the number of a table, and the signs it takes.

    Each once as it is, and once with the least certain of its signs turned round. A view with nothing in it has the
    keys of the picture.
    """
    views = _views(pictures.reshape(-1, SIDE, SIDE).astype(np.float32))
    waves = views.reshape(*views.shape[:2], SIDE * SIDE) @ _waves().T
    taken = waves[..., _choice(tables, bits)]  # [n, views, tables, bits]
    places = 2.0 ** np.arange(bits)
    keys = ((taken > 0) @ places).astype(np.uint64) + (np.arange(tables, dtype=np.uint64) << np.uint64(56))
    turned = keys ^ places.astype(np.uint64)[np.abs(taken).argmin(-1)]
    both = np.stack([keys, turned], axis=-1)
    empty = views.std((2, 3)) < MIN_CONTRAST
    return np.where(empty[..., None, None], both[:, :1], both).reshape(len(views), 2 * VIEWS * tables)


def bits_for(bits: int, items: int) -> int:
    """Return how many signs a key takes for a search among so many items, where `bits` do for few.

    Signs of pictures depend on each other: among made-up ones four more leave a sixth of the pairs that meet by chance
    (benchmarks/near_duplicates.py), and copies lose a tenth of the keys that they have in common. So many are added
    that an item meets as many others by chance, however many there are.
    """
    more = math.ceil(_SIGNS_A_DOUBLING * math.log2(max(1.0, items / _FEW_ITEMS)))
    return min(bits + more, _LOW**2 - 1)


def _views(pictures: Floats) -> Floats:
    """Return the views of pictures [n, SIDE, SIDE], each stretched to a whole picture: [n, VIEWS, SIDE, SIDE]."""
    windows = [window @ pictures @ window.T for window in _windows()]
    rows, columns = _to_the_light(pictures.sum(2)), _to_the_light(pictures.sum(1))
    return np.stack([pictures, *windows, rows @ pictures @ columns.swapaxes(1, 2)], axis=1)


@cache
def _windows() -> list[Floats]:
    return [stretch(margin, margin) for margin in _MARGINS]


def _to_the_light(lines: Floats) -> Floats:
    """Return matrices [n, SIDE, SIDE] that stretch to a whole line where the light of lines [n, SIDE] is."""
    share = lines / np.maximum(lines.sum(1, keepdims=True), 1e-6)
    middle = np.arange(SIDE) + 0.5
    center = share @ middle
    reach = _SPREAD * np.sqrt(np.maximum(share @ middle**2 - center**2, 0))
    at = center[:, None] + reach[:, None] * (2 * middle / SIDE - 1) - 0.5
    distance = np.abs(np.clip(at, 0, SIDE - 1)[..., None] - np.arange(SIDE))
    return np.maximum(0, 1 - distance).astype(np.float32)


@cache
def _waves() -> Floats:
    """Cosines [_LOW ** 2 - 1, SIDE * SIDE] of the lowest frequencies, fading from the middle of a picture.

    None has a mean, so that the brightness of a picture does not count.
    """
    angle = np.pi * np.outer(np.arange(_LOW), np.arange(SIDE) + 0.5) / SIDE
    waves = np.einsum("uy,vx->uvyx", np.cos(angle), np.cos(angle)).reshape(_LOW**2, -1)[1:]
    away = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    fading = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / (2 * _SIGMA**2)).reshape(-1)
    return ((waves - waves.sum(1, keepdims=True) / fading.sum()) * fading).astype(np.float32)


@cache
def _choice(tables: int, bits: int) -> NDArray[np.int64]:
    rng = np.random.Generator(np.random.PCG64(_SEED))
    return np.stack([rng.permutation(_LOW**2 - 1)[:bits] for _ in range(tables)])
