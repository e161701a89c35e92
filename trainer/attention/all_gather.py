"""Attention by all-gather: every device gets all keys and values at once, and attends to them with its own queries.

One collective in place of n-1 hops, at the cost of memory: K and V of the whole sequence on every device, and in
backward dK and dV of it in float32, which are then summed and dealt out (reduce-scatter). This is how context
parallelism of LLaMA 3 works (arXiv 2407.21783, section 3.3.2).
"""

from __future__ import annotations

from typing import TypeVar

import jax
from jax import lax

from trainer.attention.kernel import Kernel, Three
from trainer.attention.tiles import Tokens

Tree = TypeVar("Tree")


def forward(
    q: jax.Array, k: jax.Array, v: jax.Array, tokens: Tokens, *, devices: int, kernel: Kernel
) -> tuple[jax.Array, jax.Array]:
    """Return this device's output [B,K,G,S,H] and log-sum-exp [B,K,G,S], float32."""
    return kernel.forward(q, *_gathered((k, v), axis=2), tokens, _gathered(tokens, axis=1), stretches=devices)


def backward(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    tokens: Tokens,
    d_out: jax.Array,
    lse: jax.Array,
    delta: jax.Array,
    *,
    devices: int,
    kernel: Kernel,
) -> Three:
    """Return this device's dQ [B,K,G,S,H], dK and dV [B,K,S,H], float32."""
    k, v = _gathered((k, v), axis=2)
    keys = _gathered(tokens, axis=1)
    d_q, *whole = kernel.backward(q, k, v, tokens, keys, d_out, lse, delta, stretches=devices)
    d_k, d_v = (lax.psum_scatter(x, "sequence", scatter_dimension=2, tiled=True) for x in whole)
    return d_q, d_k, d_v


def _gathered(tree: Tree, *, axis: int) -> Tree:
    return jax.tree.map(lambda x: lax.all_gather(x, "sequence", axis=axis, tiled=True), tree)
