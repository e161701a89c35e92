"""Storage of a training state in bfloat16: computed in float32, rounded stochastically when it is stored.

An update is often smaller than half the distance between two neighbors in bfloat16 (1/256 of the value), and so is the
change of a mean of squared gradients with a decay near 1. Rounding to the nearest would lose it every time. Stochastic
rounding picks the upper neighbor with the probability of the position between the two, so the mean is exact
(Gupta et al., arXiv 1502.02551).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

_DROPPED_BITS = 16  # of float32 in bfloat16


def widened(tree: Any) -> Any:
    """Return the tree with its bfloat16 leaves as float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, tree)


def narrowed(tree: Any, *, like: Any, key: jax.Array) -> Any:
    """Return the tree with the dtypes of `like`; float32 becomes bfloat16 by stochastic rounding with `key`."""
    leaves, structure = jax.tree.flatten(tree)
    kinds = [x.dtype for x in jax.tree.leaves(like)]

    def one(i: int, x: jax.Array, kind: Any) -> jax.Array:
        return x if x.dtype == kind else stochastic_round(x, jax.random.fold_in(key, i))

    return jax.tree.unflatten(structure, [one(i, *pair) for i, pair in enumerate(zip(leaves, kinds, strict=True))])


def stochastic_round(x: jax.Array, key: jax.Array) -> jax.Array:
    """Round float32 to bfloat16, up or down with probabilities that make the mean exact; NaN and infinity stay."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    kept = (bits + noise) >> jnp.uint32(_DROPPED_BITS)
    rounded = jax.lax.bitcast_convert_type(kept.astype(jnp.uint16), jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.bfloat16))
