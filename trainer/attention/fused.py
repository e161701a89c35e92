"""Fused attention for a GPU: the two functions of `blockwise.py` as Pallas programs, compiled by Triton.

A program of the grid owns a tile of queries (forward, dQ) or of keys (dK, dV) and loops over the tiles within its
bounds (`tiles.py`); scores stay on the chip. `forward` returns the log-sum-exp and `backward` takes the global one, so
the strategies use this kernel like the other (after FlashAttention-2, arXiv 2307.08691). Query heads that share a
key/value head read the same keys; keys are not repeated.

`unsupported_reason` compiles a small instance to determine whether the devices can run the kernel. The tests run it in
Pallas' interpret mode on any machine; it has not been run on a GPU.

Axes as in `blockwise.py`; M = B·K·G query heads of all rows, C key ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from trainer.attention.blockwise import NOTHING, SoftmaxSums
from trainer.attention.protocol import Keys, Output, QKVGrads, Queries, Residuals
from trainer.attention.reference import visible
from trainer.attention.tiles import Tokens, meetings, spans

_MASKED, _START = -1e30, -5e29  # as in `blockwise.py`
Carry = TypeVar("Carry")


def forward(queries: Queries, keys: Keys, *, tile: int, key_ranges: int = 1, interpret: bool = False) -> Output:
    """Implement `blockwise.forward`."""
    q, k, v = queries.q, keys.k, keys.v
    shape, grid = _Shape.of(q, k, tile), partial(_call, q, interpret)
    live, _ = meetings(queries.tokens, keys.tokens, tile=tile)
    inputs = [*spans(live, key_ranges=key_ranges), *queries.tokens, *keys.tokens, *shape.flat(q, k, v)]
    specs = [*shape.query_specs(key_ranges), shape.query_rows, shape.all_keys, shape.all_keys]
    out, lse = grid(
        partial(_forward_tile, shape),
        (shape.heads, shape.groups, shape.query_tiles),
        specs,
        inputs,
        [shape.query_rows, shape.query_numbers],
        [shape.flat_queries, shape.flat_queries[:-1]],
    )
    return Output(out.reshape(q.shape), lse.reshape(q.shape[:-1]))


def backward(
    queries: Queries, keys: Keys, saved: Residuals, *, tile: int, key_ranges: int = 1, interpret: bool = False
) -> QKVGrads:
    """Implement `blockwise.backward`."""
    q, k, v = queries.q, keys.k, keys.v
    shape, grid = _Shape.of(q, k, tile), partial(_call, q, interpret)
    live, _ = meetings(queries.tokens, keys.tokens, tile=tile)
    inputs = [*queries.tokens, *keys.tokens, *shape.flat(q, k, v, *saved)]
    rows = [shape.query_rows, shape.query_numbers, shape.query_numbers]
    (d_q,) = grid(
        partial(_d_q_tile, shape),
        (shape.heads, shape.groups, shape.query_tiles),
        [*shape.query_specs(key_ranges), shape.query_rows, shape.all_keys, shape.all_keys, *rows],
        [*spans(live, key_ranges=key_ranges), *inputs],
        [shape.query_rows],
        [shape.flat_queries],
    )
    # Query ranges have the length of key ranges.
    query_ranges = key_ranges * q.shape[3] // k.shape[2]
    numbers = [shape.all_queries, shape.all_numbers, shape.all_numbers]
    d_k, d_v = grid(
        partial(_d_keys_tile, shape),
        (shape.heads, shape.key_tiles),
        [*shape.key_specs(query_ranges), shape.all_queries, shape.key_rows, shape.key_rows, *numbers],
        [*spans(live.swapaxes(1, 2), key_ranges=query_ranges), *inputs],
        [shape.key_rows] * 2,
        [shape.flat_keys] * 2,
    )
    return QKVGrads(d_q.reshape(q.shape), d_k.reshape(k.shape), d_v.reshape(k.shape))


def block(tile: int) -> int:
    """Return the block size of the kernel: the largest power of two, up to 64, that divides `tile`."""
    return min(tile & -tile, 64)


@cache
def unsupported_reason(block: int, head_dim: int, dtype: jnp.dtype) -> str | None:
    """Compile a small instance of the kernel; return why this process's devices cannot run it, or None if they can."""
    if block < 16 or head_dim < 16 or head_dim & (head_dim - 1):
        return f"it needs a tile with a factor of 16 and a head dim of 16, 32, 64 ...: got {block} and {head_dim}"

    def both(q: jax.Array, k: jax.Array, ids: jax.Array) -> Any:
        tokens = Tokens(ids, ids)
        queries, keys = Queries(q, tokens), Keys(k, k, tokens)
        out, lse = forward(queries, keys, tile=block)
        return backward(queries, keys, Residuals(out.astype(dtype), lse, lse), tile=block)

    shapes = ((1, 1, 1, 2 * block, head_dim), dtype), ((1, 1, 2 * block, head_dim), dtype), ((1, 2 * block), jnp.int32)
    try:
        jax.jit(both).lower(*(jax.ShapeDtypeStruct(*x) for x in shapes)).compile()
    except (RuntimeError, ValueError, TypeError) as error:  # the errors of Pallas, Triton and XLA
        return f"it cannot be compiled for {jax.default_backend()} ({str(error).splitlines()[0]})"
    return None


class _Shape(NamedTuple):
    """Sizes and block specs of a grid; queries are [M,G,S,H], keys [M,T,H]."""

    heads: int  # M = B·K
    kv_heads: int  # K
    groups: int  # G
    tile: int
    flat_queries: tuple[int, ...]
    flat_keys: tuple[int, ...]

    @classmethod
    def of(cls, q: jax.Array, k: jax.Array, tile: int) -> _Shape:
        heads = q.shape[0] * q.shape[1]
        return cls(heads, q.shape[1], q.shape[2], tile, (heads, *q.shape[2:]), (heads, *k.shape[2:]))

    def flat(self, *arrays: jax.Array) -> list[jax.Array]:
        """Merge the dims of batch and key/value heads."""
        return [x.reshape(self.heads, *x.shape[2:]) for x in arrays]

    @property
    def query_tiles(self) -> int:
        """Number of query tiles, I."""
        return self.flat_queries[2] // self.tile

    @property
    def key_tiles(self) -> int:
        """Number of key tiles, J."""
        return self.flat_keys[1] // self.tile

    @property
    def scale(self) -> float:
        """Factor of the scores."""
        return 1 / math.sqrt(self.flat_keys[2])

    # For a grid over heads, groups and query tiles (m, g, i):

    def query_specs(self, key_ranges: int) -> list[pl.BlockSpec]:
        """Specs of the bounds, and of the segment ids and positions of a query tile and of all keys."""
        limits = pl.BlockSpec((None, None, key_ranges), lambda m, g, i: (m // self.kv_heads, i, 0))
        mine = pl.BlockSpec((None, self.tile), lambda m, g, i: (m // self.kv_heads, i))
        others = pl.BlockSpec((None, self.flat_keys[1]), lambda m, g, i: (m // self.kv_heads, 0))
        return [limits, limits, mine, mine, others, others]

    @property
    def query_rows(self) -> pl.BlockSpec:
        """Spec of a query tile of one head."""
        return pl.BlockSpec((None, None, self.tile, self.flat_keys[2]), lambda m, g, i: (m, g, i, 0))

    @property
    def query_numbers(self) -> pl.BlockSpec:
        """Spec of one number per row of a query tile."""
        return pl.BlockSpec((None, None, self.tile), lambda m, g, i: (m, g, i))

    @property
    def all_keys(self) -> pl.BlockSpec:
        """Spec of all keys of the head."""
        return pl.BlockSpec((None, *self.flat_keys[1:]), lambda m, g, i: (m, 0, 0))

    # For a grid over heads and key tiles (m, j):

    def key_specs(self, query_ranges: int) -> list[pl.BlockSpec]:
        """Specs of the bounds, and of the segment ids and positions of all queries and of a key tile."""
        limits = pl.BlockSpec((None, None, query_ranges), lambda m, j: (m // self.kv_heads, j, 0))
        others = pl.BlockSpec((None, self.flat_queries[2]), lambda m, j: (m // self.kv_heads, 0))
        mine = pl.BlockSpec((None, self.tile), lambda m, j: (m // self.kv_heads, j))
        return [limits, limits, others, others, mine, mine]

    @property
    def key_rows(self) -> pl.BlockSpec:
        """Spec of a key tile of one head."""
        return pl.BlockSpec((None, self.tile, self.flat_keys[2]), lambda m, j: (m, j, 0))

    @property
    def all_queries(self) -> pl.BlockSpec:
        """Spec of all queries that share the key/value head."""
        return pl.BlockSpec((None, *self.flat_queries[1:]), lambda m, j: (m, 0, 0, 0))

    @property
    def all_numbers(self) -> pl.BlockSpec:
        """Spec of one number per row of all queries."""
        return pl.BlockSpec((None, *self.flat_queries[1:3]), lambda m, j: (m, 0, 0))


def _forward_tile(shape: _Shape, start: Any, stop: Any, qs: Any, qp: Any, ks: Any, kp: Any, *refs: Any) -> None:
    q_ref, k_ref, v_ref, out_ref, lse_ref = refs
    q, mine = q_ref[...], (qs[...], qp[...])

    def add(here: Any, sums: SoftmaxSums) -> SoftmaxSums:
        values, highest, weights = sums
        scores = _scores(q, k_ref[here, :], mine, (ks[here], kp[here]), shape.scale)
        top = jnp.maximum(highest, scores.max(-1))
        weight, fade = jnp.exp(scores - top[:, None]), jnp.exp(highest - top)
        added = _dot(weight.astype(v_ref.dtype), v_ref[here, :])
        return SoftmaxSums(values * fade[:, None] + added, top, weights * fade + weight.sum(-1))

    zeros = SoftmaxSums(jnp.zeros(q.shape, jnp.float32), jnp.full(len(q), _START), jnp.zeros(len(q)))
    values, highest, weights = _over_tiles(shape, start, stop, shape.key_tiles, add, zeros)
    seen = weights > 0
    weights = jnp.where(seen, weights, 1.0)
    out_ref[...] = values / weights[:, None]
    lse_ref[...] = jnp.where(seen, highest + jnp.log(weights), NOTHING)


def _d_q_tile(shape: _Shape, start: Any, stop: Any, qs: Any, qp: Any, ks: Any, kp: Any, *refs: Any) -> None:
    q_ref, k_ref, v_ref, d_out_ref, lse_ref, delta_ref, d_q_ref = refs
    q, d_out, lse, delta, mine = q_ref[...], d_out_ref[...], lse_ref[...], delta_ref[...], (qs[...], qp[...])

    def add(here: Any, d_q: jax.Array) -> jax.Array:
        k = k_ref[here, :]
        weights = jnp.exp(_scores(q, k, mine, (ks[here], kp[here]), shape.scale) - lse[:, None])
        d_scores = weights * (_dot(d_out, v_ref[here, :].T) - delta[:, None])
        return d_q + _dot(d_scores.astype(k.dtype), k)

    d_q = _over_tiles(shape, start, stop, shape.key_tiles, add, jnp.zeros(q.shape, jnp.float32))
    d_q_ref[...] = d_q * shape.scale


def _d_keys_tile(shape: _Shape, start: Any, stop: Any, qs: Any, qp: Any, ks: Any, kp: Any, *refs: Any) -> None:
    q_ref, k_ref, v_ref, d_out_ref, lse_ref, delta_ref, d_k_ref, d_v_ref = refs
    k, v, mine = k_ref[...], v_ref[...], (ks[...], kp[...])

    def group(g: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        def add(here: Any, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            d_k, d_v = sums
            q, d_out = q_ref[g, here, :], d_out_ref[g, here, :]
            weights = jnp.exp(_scores(q, k, (qs[here], qp[here]), mine, shape.scale) - lse_ref[g, here][:, None])
            d_scores = weights * (_dot(d_out, v.T) - delta_ref[g, here][:, None])
            return d_k + _dot(d_scores.T.astype(q.dtype), q), d_v + _dot(weights.T.astype(q.dtype), d_out)

        return _over_tiles(shape, start, stop, shape.query_tiles, add, sums)

    zeros = jnp.zeros(k.shape, jnp.float32)
    d_k, d_v = lax.fori_loop(0, shape.groups, group, (zeros, zeros))
    d_k_ref[...] = d_k * shape.scale
    d_v_ref[...] = d_v


def _over_tiles(
    shape: _Shape, start: Any, stop: Any, tiles: int, add: Callable[[Any, Carry], Carry], carry: Carry
) -> Carry:
    """Call `add` with the slice of every tile within the bounds of each range; the ranges share `tiles` tiles."""
    ranges = start.shape[0]

    def tile_range(c: int | jax.Array, carry: Carry) -> Carry:
        first = c * (tiles // ranges)
        return lax.fori_loop(start[c], stop[c], lambda j, x: add(pl.ds((first + j) * shape.tile, shape.tile), x), carry)

    return lax.fori_loop(0, ranges, tile_range, carry)


def _scores(q: jax.Array, k: jax.Array, queries: Any, keys: Any, scale: float) -> jax.Array:
    return jnp.where(visible(*queries, *keys), _dot(q, k.T) * scale, _MASKED)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    """Multiply with a float32 result; float32 inputs are not rounded to TF32."""
    exact = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    return jnp.dot(x, y, precision=exact, preferred_element_type=jnp.float32)


def _call(
    like: jax.Array,
    interpret: bool,
    program: Callable[..., None],
    grid: tuple[int, ...],
    specs: list[pl.BlockSpec],
    inputs: list[jax.Array],
    out_specs: list[pl.BlockSpec],
    out_shapes: list[tuple[int, ...]],
) -> list[jax.Array]:
    """Run `program` over `grid`; the outputs are float32 and vary over the same devices as `like`."""
    varies = jax.typeof(like).manual_axis_type
    made = [jax.ShapeDtypeStruct(shape, jnp.float32, manual_axis_type=varies) for shape in out_shapes]
    run = pl.pallas_call(
        program,
        grid=grid,
        in_specs=specs,
        out_specs=out_specs,
        out_shape=made,
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
    )
    return list(run(*inputs))
