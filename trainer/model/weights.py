"""Stored weights in use: cast to the compute dtype, gathered from the devices, with gradients summed in float32.

A product in bfloat16 gives a gradient in bfloat16. Autodiff would sum these over chunks of tokens, over occurrences of
an id and over devices in bfloat16 as well, where a sum of n terms loses about log2(n) of its 8 bits. Here the values in
use are those of the compute dtype, but their gradients are float32 from the first sum on.

Axes: see `trainer/__init__.py`; V ids of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from trainer.mesh import constrain


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def gathered_weight(weight: jax.Array, dims: Sequence[str], dtype: str, mesh: Mesh | None) -> jax.Array:
    """Return a stored weight, split over the axis `tensor` only, as float32 with values that `dtype` can represent.

    Cast it to `dtype` inside the loop over tokens; the compiler removes both casts, and devices exchange `dtype`. The
    gradient is float32, and is sharded like the stored weight.
    """
    return constrain(weight.astype(dtype), dims, mesh, over=("tensor",)).astype(jnp.float32)


def _gathered_forward(
    weight: jax.Array, dims: Sequence[str], dtype: str, mesh: Mesh | None
) -> tuple[jax.Array, jax.Array]:
    return gathered_weight(weight, dims, dtype, mesh), weight[:0]


def _gathered_backward(
    dims: Sequence[str], dtype: str, mesh: Mesh | None, like: jax.Array, gradient: jax.Array
) -> tuple[jax.Array]:
    del dtype
    return (constrain(gradient, dims, mesh).astype(like.dtype),)


gathered_weight.defvjp(_gathered_forward, _gathered_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def lookup(table: jax.Array, ids: jax.Array, dims: Sequence[str], dtype: str, mesh: Mesh | None) -> jax.Array:
    """Return the rows `ids` [...] of a stored table [V,D], in `dtype`: [...,D]. Its gradient is summed in float32."""
    whole = constrain(table.astype(dtype), ("model", "model"), mesh)
    return jnp.take(whole, ids, axis=0)


def _lookup_forward(
    table: jax.Array, ids: jax.Array, dims: Sequence[str], dtype: str, mesh: Mesh | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return lookup(table, ids, dims, dtype, mesh), (jnp.zeros((len(table), 0), table.dtype), ids)


def _lookup_backward(
    dims: Sequence[str], dtype: str, mesh: Mesh | None, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, None]:
    del dtype
    like, ids = saved
    zeros = jnp.zeros((len(like), gradient.shape[-1]), jnp.float32)
    summed = zeros.at[ids].add(gradient.astype(jnp.float32), mode="drop")
    return constrain(summed, dims, mesh).astype(like.dtype), None


lookup.defvjp(_lookup_forward, _lookup_backward)
