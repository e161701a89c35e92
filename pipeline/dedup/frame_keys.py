"""LSH hash keys of sampled frames: the signs of low-frequency cosine coefficients.

A frame is hashed in several views. Each view becomes the signs of its low-frequency cosine coefficients, with weights
that decrease towards the edges. A hash table takes a fixed subset of the signs as one key, and the same subset with its
least certain sign flipped as a second key (multi-probe). Copies agree in most signs, and therefore in all signs of some
table for some frame. The views:

full frame      agrees with a copy that changed little
inset window    agrees with the full frame of a copy that was cropped to it
center          excludes logos and other overlays near the edges
bright area     the frame cropped to the mean position and the spread of its brightness; black bars do not change it,
                which matters if they could not be detected next to a dark scene

A picture and its mirror image have the same keys: a view is flipped so that its left side is the brighter one, and has
the keys of both orientations if its sides are about equally bright. Flipping changes the sign of every odd horizontal
frequency.

Cost: about 8 us per frame, if there are at least `_BLOCK`.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.window import Floats, stretch
from pipeline.video.analysis.frame_signature import MIN_CONTRAST, SIDE, is_flat

VIEWS = 4
_SEED = 20240229  # of the subsets of signs; fixed, because keys of different seeds never collide
_FREQUENCIES = 7  # cosine coefficients per axis
_SIGMA = 0.3  # standard deviation of the weights, in sides of the frame: crops and logos change the edges most
_MARGINS = (0.07, 0.24)  # of the inset window and of the center, in sides of the frame
_SMALL_CORPUS = 1 << 12  # items
_BITS_PER_DOUBLING = 1.5
_CERTAIN_SIDE = 0.1  # of a view's coefficients, from which the brighter side is certain
_BLOCK = 64  # pictures
_SPREAD = 1.9  # half width of the bright area, in standard deviations of the brightness


def picture_keys(
    pictures: NDArray[np.uint8], *, tables: int, bits: int
) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Return which of pictures [n, SIDE, SIDE] are not flat: [n], and the `sign_keys` of those."""
    is_distinctive = ~is_flat(pictures)
    return is_distinctive, sign_keys(pictures[is_distinctive], tables=tables, bits=bits)


def sign_keys(pictures: NDArray[np.uint8], *, tables: int, bits: int) -> NDArray[np.uint64]:
    """Return hash keys [n, 4 * VIEWS * tables] of pictures [n, SIDE, SIDE].

    A key holds the number of its table and `bits` signs. Each comes twice, as it is and with its least certain sign
    flipped, and again for the other orientation, or repeated if that is certain. A view without contrast has the keys
    of the full frame. The keys of a picture do not depend on the other pictures.
    """
    keys = np.zeros((len(pictures), 4 * VIEWS * tables), np.uint64)
    for start in range(0, len(pictures), _BLOCK):
        block = slice(start, start + _BLOCK)
        keys[block] = _keys_of_block(pictures[block].astype(np.float32), tables, bits)
    return keys


def _keys_of_block(pictures: Floats, tables: int, bits: int) -> NDArray[np.uint64]:
    """Return `sign_keys` of a few pictures, whose intermediate arrays fit into the processor's cache.

    Products are stacks of products of one picture each: rounding in BLAS depends on the shape of a product, and the
    keys of a picture would otherwise depend on how many others are in the block.
    """
    views = _views(pictures)
    coefficients = views.reshape(*views.shape[:2], SIDE * SIDE) @ _cosines()
    one, other = _orientations(coefficients)
    flipped = _least_certain(coefficients, tables, bits)
    keys, keys_other = _signs(one, tables, bits), _signs(other, tables, bits)
    both = np.stack([keys, keys ^ flipped, keys_other, keys_other ^ flipped], axis=-1)
    is_empty = views.std((2, 3)) < MIN_CONTRAST
    return np.where(is_empty[..., None, None], both[:, :1], both).reshape(len(views), 4 * VIEWS * tables)


def _orientations(coefficients: Floats) -> tuple[Floats, Floats]:
    """Return coefficients [..., c] in the likelier orientation and in the other one, or twice in the first."""
    flip = np.where(np.arange(1, _FREQUENCIES**2) % _FREQUENCIES % 2, -1, 1).astype(np.float32)
    side = coefficients[..., :1]  # of the lowest horizontal frequency: positive if the left side is brighter
    one = np.where(side < 0, coefficients * flip, coefficients)
    is_certain = np.abs(side) > _CERTAIN_SIDE * np.linalg.norm(coefficients, axis=-1, keepdims=True)
    return one, np.where(is_certain, one, one * flip)


def _signs(coefficients: Floats, tables: int, bits: int) -> NDArray[np.uint64]:
    """Return the keys [..., tables] of coefficients [..., c]: the number of the table and the signs that it takes."""
    place_values = np.zeros((_FREQUENCIES**2 - 1, tables))
    place_values[_subsets(tables, bits), np.arange(tables)[:, None]] = 2.0 ** np.arange(bits)
    signs = (coefficients > 0) @ place_values  # exact: a float64 holds 53 bits
    return signs.astype(np.uint64) | np.arange(tables, dtype=np.uint64) << np.uint64(56)


def _least_certain(coefficients: Floats, tables: int, bits: int) -> NDArray[np.uint64]:
    """Return the bit [..., tables] of each key whose coefficient in [..., c] is nearest to 0: the first, if equal."""
    amounts = np.ascontiguousarray(np.abs(coefficients).reshape(-1, coefficients.shape[-1]).T)
    chosen = amounts[_subsets(tables, bits)]  # [tables, bits, n]
    is_least = chosen == chosen.min(1, keepdims=True)
    least = (2.0 ** np.arange(bits) @ is_least).astype(np.uint64)  # [tables, n], several bits if some are equal
    return (least & (~least + np.uint64(1))).T.reshape(*coefficients.shape[:-1], tables)


def bits_for(items: int, *, bits: int) -> int:
    """Return the bits of a key in a corpus of `items` items, given the `bits` for a small corpus.

    The signs of a picture are correlated: on generated pictures, four more bits leave one sixth of the chance
    collisions and 90 % of the collisions of copies (benchmarks/near_duplicates.py). The bits grow so that the chance
    collisions of an item stay constant.
    """
    more = math.ceil(_BITS_PER_DOUBLING * math.log2(max(1.0, items / _SMALL_CORPUS)))
    return min(bits + more, _FREQUENCIES**2 - 1)


def _views(pictures: Floats) -> Floats:
    """Return the views of pictures [n, SIDE, SIDE], each resized to a full picture: [n, VIEWS, SIDE, SIDE]."""
    windows = [window @ pictures @ window.T for window in _windows()]
    rows, columns = _to_bright_area(pictures.sum(2)), _to_bright_area(pictures.sum(1))
    return np.stack([pictures, *windows, rows @ pictures @ columns.swapaxes(1, 2)], axis=1)


@cache
def _windows() -> list[Floats]:
    return [stretch(margin, margin) for margin in _MARGINS]


def _to_bright_area(lines: Floats) -> Floats:
    """Return matrices [n, SIDE, SIDE] that resize the bright area of lines [n, SIDE] to the full line."""
    share = lines / np.maximum(lines.sum(1, keepdims=True), 1e-6)
    middle = np.arange(SIDE) + 0.5
    center = (share * middle).sum(1)  # not a matrix product, see `_keys_of_block`
    reach = _SPREAD * np.sqrt(np.maximum((share * middle**2).sum(1) - center**2, 0))
    position = center[:, None] + reach[:, None] * (2 * middle / SIDE - 1) - 0.5
    distance = np.clip(position, 0, SIDE - 1)[..., None] - np.arange(SIDE)
    np.abs(distance, out=distance)
    np.subtract(1, distance, out=distance)
    return np.maximum(distance, 0, out=distance).astype(np.float32)


@cache
def _cosines() -> Floats:
    """Return weighted cosines [SIDE * SIDE, _FREQUENCIES ** 2 - 1] of zero mean, which ignore the brightness."""
    angle = np.pi * np.outer(np.arange(_FREQUENCIES), np.arange(SIDE) + 0.5) / SIDE
    waves = np.einsum("uy,vx->uvyx", np.cos(angle), np.cos(angle)).reshape(_FREQUENCIES**2, -1)[1:]
    away = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    weights = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / (2 * _SIGMA**2)).reshape(-1)
    cosines = (waves - waves.sum(1, keepdims=True) / weights.sum()) * weights
    return np.ascontiguousarray(cosines.T.astype(np.float32))


@cache
def _subsets(tables: int, bits: int) -> NDArray[np.int64]:
    """Return which coefficients each table takes: [tables, bits]."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    return np.stack([rng.permutation(_FREQUENCIES**2 - 1)[:bits] for _ in range(tables)])
