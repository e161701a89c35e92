"""3x3 convolutions of large pictures on a CPU by Winograd's minimal filtering, F(4x4, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308). Each tile of 4 x 4 pixels takes
36 multiplications a pair of channels instead of 144: a tile d of 6 x 6 inputs, a kernel g and what comes out are

    A^T [(G g G^T) * (B^T d B)] A

with small matrices of constants, the product * being one of matrices over the channels, for each of 36 places. The
tiles of a picture take 2.25 times its room, so they are made some rows at a time, while they fit into the caches.

Sums are ordered otherwise than in a plain convolution: results differ by some 1e-5 of the largest. Measured in
`benchmarks/encode.py`; slower than XLA's own convolution where pictures are small or channels few.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

_TILE = 4  # pixels on a side that come out of a tile; 2 more go in
_SIDE = _TILE + 2
_LEAST_CHANNELS = 128
_LEAST_PIXELS = 128 * 128
_CACHED_BYTES = 8 << 20  # of tiles
_NHWC = ("NHWC", "HWIO", "NHWC")

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


def convolution(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: str, **options: Any) -> jax.Array:
    """Convolve as `lax.conv_general_dilated` does, in the faster of the two ways: for `nnx.Conv`."""
    if _pays(x, kernel, strides, padding, options):
        return convolve(x, kernel)
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _pays(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: str, options: dict[str, Any]) -> bool:
    """Say whether this is a plain 3x3 convolution on a CPU, of a picture and channels that are large enough."""
    _, height, width, _ = x.shape
    dilated = any(d != 1 for name in ("lhs_dilation", "rhs_dilation") for d in options.get(name) or ())
    plain = kernel.shape[:2] == (3, 3) and tuple(strides) == (1, 1) and padding == "SAME" and not dilated
    large = height * width >= _LEAST_PIXELS and min(kernel.shape[2:]) >= _LEAST_CHANNELS
    fits = height % _TILE == width % _TILE == 0 and options.get("feature_group_count", 1) == 1
    return plain and large and fits and x.dtype == jnp.float32 and jax.default_backend() == "cpu"


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve `[B, H, W, C]`, H and W multiples of 4, with `[3, 3, C, O]` to `[B, H, W, O]`, zeros around it.

    Float32. Its gradients are those of the plain convolution.
    """
    batch, height, width, channels = x.shape
    across = width // _TILE
    rows = _rows(height // _TILE, bytes_a_row=_SIDE**2 * across * channels * x.dtype.itemsize)
    bands, band = height // (_TILE * rows), (1, _TILE * rows + 2, width + 2, channels)
    transformed = jnp.einsum("ai,ijco,bj->abco", _KERNEL, kernel, _KERNEL).reshape(_SIDE**2, channels, -1)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def run(number: jax.Array) -> jax.Array:
        start = (number // bands, number % bands * (_TILE * rows), 0, 0)
        return _band(lax.dynamic_slice(padded, start, band)[0], transformed)

    return lax.map(run, jnp.arange(batch * bands)).reshape(batch, height, width, -1)


def _rows(rows: int, *, bytes_a_row: int) -> int:
    """Return how many rows of tiles to take at a time: as many as fit the caches, of those that divide the rows."""
    most = max(1, _CACHED_BYTES // bytes_a_row)
    return max(count for count in range(1, rows + 1) if rows % count == 0 and count <= most)


def _band(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Map inputs `[4 r + 2, 4 w + 2, C]` and a transformed kernel `[36, C, O]` to `[4 r, 4 w, O]`."""
    rows, across = (extent // _TILE for extent in x.shape[:2])

    def every(values: jax.Array, first: int, count: int, axis: int) -> jax.Array:
        return lax.slice_in_dim(values, first, first + _TILE * (count - 1) + 1, _TILE, axis)

    down = _combined(_INPUT, [every(x, i, rows, 0) for i in range(_SIDE)])
    tiles = [_combined(_INPUT, [every(some, i, across, 1) for i in range(_SIDE)]) for some in down]
    stacked = jnp.stack([tile for some in tiles for tile in some]).reshape(_SIDE**2, rows * across, -1)
    product = lax.dot_general(stacked, kernel, (((2,), (1,)), ((0,), (0,))))
    product = lax.optimization_barrier(product).reshape(_SIDE, _SIDE, rows, across, -1)  # or it is computed 16 times
    up = _combined(_OUTPUT, list(product))
    out = [jnp.stack(_combined(_OUTPUT, list(some)), axis=2) for some in up]  # each [r, w, 4, O]
    return jnp.stack(out, axis=1).reshape(_TILE * rows, _TILE * across, -1)


def _combined(matrix: Matrix, values: Sequence[jax.Array]) -> list[jax.Array]:
    """Return the sums of values that the rows of a matrix say."""
    pairs = ([(float(w), value) for w, value in zip(row, values, strict=True) if w] for row in matrix)
    return [reduce(add, (value if w == 1 else w * value for w, value in some)) for some in pairs]


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel), (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], slope: jax.Array) -> tuple[jax.Array, ...]:
    plain = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=_NHWC)
    return jax.vjp(plain, *saved)[1](slope)


convolve.defvjp(_forward, _backward)
