"""A seeded pseudorandom permutation of 0..count-1 that is evaluated per element in constant memory.

A balanced Feistel network over the smallest even number of bits that represents `count`, with splitmix64 (Steele, Lea
and Flood, OOPSLA 2014) as the round function. Results outside the range are permuted again (cycle walking: Black and
Rogaway, CT-RSA 2002), on average fewer than three times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.fingerprint import fingerprint

_ROUNDS = 4


def permuted(positions: NDArray[np.int64], count: int, *seed: object) -> NDArray[np.int64]:
    """Return the images of `positions` [N] under the permutation of 0..count-1 that `seed` selects."""
    half = np.uint64(max(1, (int(count - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    keys = [np.uint64(int(fingerprint(*seed, i)[:16], 16)) for i in range(_ROUNDS)]
    values = np.asarray(positions).astype(np.uint64)
    todo = np.arange(len(values))
    while len(todo):
        left, right = values[todo] >> half, values[todo] & mask
        for key in keys:
            left, right = right, left ^ (mix(right + key) & mask)
        values[todo] = (left << half) | right
        todo = todo[values[todo] >= np.uint64(count)]
    return values.astype(np.int64)


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return splitmix64 of each element of `x` [N]: 64 pseudorandom bits."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
