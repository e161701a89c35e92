"""Reads the compiled structure of attention over eight devices from its jaxpr: collectives, their order and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr

from trainer.attention.context_parallel import attention
from trainer.config import AttentionMethod, MeshConfig
from trainer.mesh import make_mesh

DEVICES, LENGTH, HEADS, HEAD_DIM, TILE = 8, 256, 8, 8, 8
SHARE = LENGTH // DEVICES  # tokens per device
IDS = (1, SHARE)  # shape of one device's segment ids and of its positions


def key_shape(kv_heads: int) -> tuple[int, ...]:
    """Return the shape of one device's keys."""
    return (1, kv_heads, SHARE, HEAD_DIM)


def program(method: AttentionMethod, *, kv_heads: int, gradients: bool, heads: int = HEADS) -> Jaxpr:
    """Trace attention, or the gradients of a scalar function of it."""
    mesh = make_mesh(MeshConfig(sequence=DEVICES))
    attend = partial(attention, mesh=mesh, tile=TILE, method=method)
    run = attend if not gradients else jax.grad(lambda *x: jnp.sum(jnp.square(attend(*x))), argnums=(0, 1, 2))
    q, k = (jax.ShapeDtypeStruct((1, LENGTH, n, HEAD_DIM), jnp.float32) for n in (heads, kv_heads))
    ids = jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)
    return jax.make_jaxpr(run)(q, k, k, ids, ids).jaxpr


def equations(jaxpr: Jaxpr, times: int = 1) -> Iterator[tuple[Any, int]]:
    """Yield every equation, including nested ones, and how often it runs (those of dynamic loops count once)."""
    for equation in jaxpr.eqns:
        yield equation, times
        inner = times * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield from equations(part, inner)


def sent(jaxpr: Jaxpr, collective: str) -> dict[tuple[int, ...], int]:
    """Return how many arrays of each shape every device passes to `collective`."""
    counts: dict[tuple[int, ...], int] = {}
    for equation, times in equations(jaxpr):
        if equation.primitive.name == collective:
            shape = equation.invars[0].aval.shape
            counts[shape] = counts.get(shape, 0) + times
    return counts


def largest_local_array(jaxpr: Jaxpr) -> int:
    """Return the number of elements of the largest array that one device computes."""
    return max(
        math.prod(v.aval.shape)
        for equation, _ in equations(jaxpr)
        if equation.primitive.name != "shard_map"
        for v in equation.outvars
        if not (LENGTH in v.aval.shape[:2] and v.aval.shape[-1] in (HEAD_DIM, LENGTH))  # a global array
    )


def checks_varying_axes(jaxpr: Jaxpr) -> list[bool]:
    """Return, for each shard_map, whether it checks which values vary over devices."""
    return [e.params["check_vma"] for e, _ in equations(jaxpr) if e.primitive.name == "shard_map"]
