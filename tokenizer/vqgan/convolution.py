"""Convolutions with the fastest of three algorithms: XLA's, Winograd's (`winograd.py`), or several pixels at a time.

On a CPU, XLA computes a convolution by YNNPACK at the speed of a matrix product, but one with few inputs and outputs by
Eigen at half of it (16 channels) or less (3 channels). `convolve_folded` computes the pixels of a block, 1 x 2 for
example, as outputs of one convolution with that stride. The kernel of a block is larger and has zeros (4/3 times as
many operations for 1 x 2), so it is slower for more channels. Measured by `benchmarks/encode.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tokenizer.vqgan.winograd import TILE, convolve

_MIN_CHANNELS, _MIN_PIXELS = 128, 64 * 64  # for which Winograd's algorithm is faster
_EIGEN_INPUTS, _EIGEN_OUTPUTS = 32, 24  # XLA uses Eigen below both
_FEW_INPUTS, _MIN_FOLDED = 8, 64  # below this number of inputs, outputs of a folded convolution
_NHWC = ("NHWC", "HWIO", "NHWC")


def convolution(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: str, **options: Any) -> jax.Array:
    """Convolve like `lax.conv_general_dilated` with the fastest of the algorithms; for `nnx.Conv`."""
    algorithm = _algorithm(x.shape, kernel.shape) if _is_plain(x, kernel, strides, padding, options) else None
    if algorithm is None:
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    return with_direct_gradients(algorithm)(x, kernel)


def _is_plain(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: str, options: dict[str, Any]) -> bool:
    """Return whether this is a plain 3x3 float32 convolution on a CPU."""
    dilated = any(d != 1 for name in ("lhs_dilation", "rhs_dilation") for d in options.get(name) or ())
    plain = kernel.shape[:2] == (3, 3) and tuple(strides) == (1, 1) and padding == "SAME" and not dilated
    ungrouped = options.get("feature_group_count", 1) == 1
    return plain and ungrouped and x.dtype == jnp.float32 and jax.default_backend() == "cpu"


Algorithm = Callable[[jax.Array, jax.Array], jax.Array]


def _algorithm(shape: Sequence[int], kernel: Sequence[int]) -> Algorithm | None:
    """Return the fastest algorithm for inputs `[B, H, W, C]` and a kernel `[3, 3, C, O]`, None if it is XLA's."""
    height, width = shape[1:3]
    inputs, outputs = kernel[2:]
    if height * width >= _MIN_PIXELS and min(inputs, outputs) >= _MIN_CHANNELS:
        return convolve if height % TILE == width % TILE == 0 else None
    if inputs < _EIGEN_INPUTS and outputs < _EIGEN_OUTPUTS:
        wanted = _MIN_FOLDED if inputs < _FEW_INPUTS else _EIGEN_OUTPUTS
        doublings = math.ceil(math.log2(wanted / outputs))
        block = 1 << doublings // 2, 1 << -(-doublings // 2)
        return partial(convolve_folded, block=block) if height % block[0] == width % block[1] == 0 else None
    return None


def convolve_folded(x: jax.Array, kernel: jax.Array, *, block: tuple[int, int]) -> jax.Array:
    """Convolve `[B, H, W, C]` with `[3, 3, C, O]` to `[B, H, W, O]`, with zero padding, a block of pixels at a time.

    The block, (rows, columns), divides (H, W).
    """
    batch, height, width, _ = x.shape
    rows, columns = block
    margins = [((i, rows - 1 - i), (j, columns - 1 - j)) for i in range(rows) for j in range(columns)]
    kernels = jnp.stack([jnp.pad(kernel, (*margin, (0, 0), (0, 0))) for margin in margins], axis=3)
    folded = kernels.reshape(*kernels.shape[:3], -1)  # [rows + 2, columns + 2, C, rows * columns * O]
    out = lax.conv_general_dilated(x, folded, block, ((1, 1), (1, 1)), dimension_numbers=_NHWC)
    blocks = out.reshape(batch, height // rows, width // columns, rows, columns, -1)
    return jnp.einsum("bhwijo->bhiwjo", blocks).reshape(batch, height, width, -1)


def with_direct_gradients(algorithm: Algorithm) -> Algorithm:
    """Return a 3x3 convolution with zero padding that has the gradients of XLA's convolution."""
    direct = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=_NHWC)

    def backward(saved: tuple[jax.Array, jax.Array], slope: jax.Array) -> tuple[jax.Array, ...]:
        return jax.vjp(direct, *saved)[1](slope)

    convolve = jax.custom_vjp(algorithm)
    convolve.defvjp(lambda x, kernel: (algorithm(x, kernel), (x, kernel)), backward)
    return convolve
