"""3x3 convolutions of large images on a CPU by Winograd's minimal filtering, F(4x4, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308). A tile of 4 x 4 output pixels
needs 36 multiplications per pair of channels instead of 144. For a tile d of 6 x 6 inputs and a kernel g it is

    A^T [(G g G^T) * (B^T d B)] A

with small constant matrices, where * is a matrix product over the channels for each of the 36 positions. The tiles of
an image need 2.25 times its memory, so they are computed in bands of rows that fit in a core's cache.

The order of sums differs from a direct convolution: results differ by about 1e-5 of the largest value. Measured by
`benchmarks/encode.py`; slower than XLA's convolution for small images or few channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

TILE = 4  # output pixels per side of a tile
_SIDE = TILE + 2  # input pixels per side of a tile
_CACHED_BYTES = 1 << 19  # of tiles in a band; with 4 MiB, 6 % slower on one core with `lwm-256`

Matrix = NDArray[np.float32]
_INPUT: Matrix = np.array(  # B^T
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_KERNEL: Matrix = np.array(  # G
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32
) / np.float32(24)
_OUTPUT: Matrix = np.array(  # A^T
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve `[B, H, W, C]`, H and W multiples of 4, with `[3, 3, C, O]` to `[B, H, W, O]`, with zero padding.

    Float32.
    """
    batch, height, width, channels = x.shape
    across = width // TILE
    rows = _rows(height // TILE, row_bytes=_SIDE**2 * across * channels * x.dtype.itemsize)
    bands, band = height // (TILE * rows), (1, TILE * rows + 2, width + 2, channels)
    both = jnp.asarray(np.kron(_KERNEL, _KERNEL))  # one product: an einsum takes 6 to 23 times as long
    transformed = (both @ kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)).reshape(_SIDE**2, channels, -1)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def run(number: jax.Array) -> jax.Array:
        start = (number // bands, number % bands * (TILE * rows), 0, 0)
        return _band(lax.dynamic_slice(padded, start, band)[0], transformed)

    return lax.map(run, jnp.arange(batch * bands)).reshape(batch, height, width, -1)


def _rows(rows: int, *, row_bytes: int) -> int:
    """Return the rows of tiles per band: the largest divisor of `rows` that fits in the caches."""
    most = max(1, _CACHED_BYTES // row_bytes)
    return max(count for count in range(1, rows + 1) if rows % count == 0 and count <= most)


def _band(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Map inputs `[4 r + 2, 4 w + 2, C]` and a transformed kernel `[36, C, O]` to `[4 r, 4 w, O]`."""
    rows, across = (extent // TILE for extent in x.shape[:2])

    def strided(values: jax.Array, first: int, count: int, axis: int) -> jax.Array:
        return lax.slice_in_dim(values, first, first + TILE * (count - 1) + 1, TILE, axis)

    down = _combined(_INPUT, [strided(x, i, rows, 0) for i in range(_SIDE)])
    tiles = [_combined(_INPUT, [strided(some, i, across, 1) for i in range(_SIDE)]) for some in down]
    stacked = jnp.stack([tile for some in tiles for tile in some]).reshape(_SIDE**2, rows * across, -1)
    product = lax.dot_general(stacked, kernel, (((2,), (1,)), ((0,), (0,))))
    product = lax.optimization_barrier(product).reshape(
        _SIDE, _SIDE, rows, across, -1
    )  # prevents recomputation for each of 16 outputs
    up = _combined(_OUTPUT, list(product))
    out = [jnp.stack(_combined(_OUTPUT, list(some)), axis=2) for some in up]  # each [r, w, 4, O]
    return jnp.stack(out, axis=1).reshape(TILE * rows, TILE * across, -1)


def _combined(matrix: Matrix, values: Sequence[jax.Array]) -> list[jax.Array]:
    """Return the linear combinations of values given by the rows of a matrix."""
    pairs = ([(float(w), value) for w, value in zip(row, values, strict=True) if w] for row in matrix)
    return [reduce(add, (value if w == 1 else w * value for w, value in some)) for some in pairs]
