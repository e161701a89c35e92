"""Attention by all-gather: each device receives all keys and values at once and attends with its own queries.

One collective instead of n-1 hops, at the cost of memory: every device holds K and V of the whole sequence, and in the
backward pass their gradients in float32, which a reduce-scatter sums and distributes. Context parallelism of LLaMA 3
works this way (arXiv 2407.21783, section 3.3.2).
"""

from __future__ import annotations

import jax
from jax import lax

from trainer.attention.protocol import Kernel, Keys, Output, QKVGrads, Queries, Residuals
from trainer.attention.tiles import Tokens


def forward(queries: Queries, keys: Keys, *, devices: int, kernel: Kernel) -> Output:
    """Return attention of this device's queries to all keys."""
    return kernel.forward(queries, _gathered(keys), key_ranges=devices)


def backward(queries: Queries, keys: Keys, saved: Residuals, *, devices: int, kernel: Kernel) -> QKVGrads:
    """Return the gradients of this device's queries, keys and values."""
    d_q, *whole = kernel.backward(queries, _gathered(keys), saved, key_ranges=devices)
    d_k, d_v = (lax.psum_scatter(x, "sequence", scatter_dimension=2, tiled=True) for x in whole)
    return QKVGrads(d_q, d_k, d_v)


def _gathered(keys: Keys) -> Keys:
    def gather(x: jax.Array, axis: int) -> jax.Array:
        return lax.all_gather(x, "sequence", axis=axis, tiled=True)

    return Keys(gather(keys.k, 2), gather(keys.v, 2), Tokens(*(gather(x, 1) for x in keys.tokens)))
