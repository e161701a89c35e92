"""Blockwise attention in XLA: one device's queries against the keys it currently holds, one pair of tiles at a time.

`forward` is the online softmax (Milakov & Gimelshein, arXiv 1805.02867). `backward` accumulates all three gradients
with weights recomputed from the global log-sum-exp (FlashAttention-2, arXiv 2307.08691, algorithm 2). Each query tile
visits the key tiles within its bounds (`tiles.py`), first those that need no mask, then the rest. The cost is
proportional to the sum of length² over documents, and the largest temporary array is one tile of scores. `fused.py`
implements the same two functions for a GPU.

Choices that make it fast on a CPU (measured with `benchmarks/ring.py`): tiles that need no mask skip its comparisons;
the running sums of a query tile exist only in the inner loop; key/value heads are processed one at a time, so a tile of
scores fits in the cache; tiles are contiguous, scores are [R, tile], and dK and dV are accumulated transposed.

Axes: those of `trainer/__init__.py`; T keys, R = G·tile rows of a query tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from trainer.attention.protocol import Keys, Output, QKVGrads, Queries, Residuals
from trainer.attention.reference import visible
from trainer.attention.tiles import Bounds, Tokens, bounds

# Masked scores are below the initial running maximum, so their weight is exp(-5e29) = 0 even in a row without any
# unmasked score so far.
_MASKED, _START = -1e30, -5e29
NOTHING = -1e30  # log-sum-exp of a row that attends to no key

Carry = TypeVar("Carry")


def forward(queries: Queries, keys: Keys, *, tile: int, key_ranges: int = 1) -> Output:
    """Return attention of `queries` to `keys`.

    S and T are multiples of `tile`; the keys are `key_ranges` equal ranges, each in reading order. The output of a row
    that attends to no key is exactly 0 and its log-sum-exp is NOTHING.
    """
    q, k, v = queries.q, keys.k, keys.v
    walk = _Walk.of(queries, keys, tile, key_ranges)
    q_tiles, k_tiles, v_tiles = _query_tiles(q, tile), _key_tiles(k, tile), _key_tiles(v, tile)

    def query_tile(n: jax.Array, made: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q_tile = walk.scaled(_at(q_tiles, n))

        def add(sums: SoftmaxSums, pair: _Pair) -> SoftmaxSums:
            values, highest, weights = sums
            scores = walk.scores(q_tile, _at(k_tiles, pair.key), pair)
            top = jnp.maximum(highest, scores.max(-1))
            weight, fade = jnp.exp(scores - top[:, None]), jnp.exp(highest - top)
            added = _product("rs,sh->rh", weight, _at(v_tiles, pair.key))
            return SoftmaxSums(values * fade[:, None] + added, top, weights * fade + weight.sum(-1))

        start = SoftmaxSums(_like(q_tile, 0.0), _like(q_tile[:, 0], _START), _like(q_tile[:, 0], 0.0))
        values, highest, weights = walk.over_keys(n, add, start)
        seen = weights > 0
        weights = jnp.where(seen, weights, 1.0)
        lse = jnp.where(seen, highest + jnp.log(weights), NOTHING)
        return _put(made[0], n, values / weights[:, None]), _put(made[1], n, lse)

    start = _like(q_tiles, 0.0), _like(q_tiles[..., 0], 0.0)
    out, lse = lax.fori_loop(0, len(q_tiles), query_tile, start)
    return Output(_whole_queries(out, q.shape, tile), _whole_queries(lse, q.shape[:-1], tile))


def backward(queries: Queries, keys: Keys, saved: Residuals, *, tile: int, key_ranges: int = 1) -> QKVGrads:
    """Return the contribution of `keys` to dQ, and their dK and dV; `tile` and `key_ranges` as in `forward`."""
    q, k, v = queries.q, keys.k, keys.v
    walk = _Walk.of(queries, keys, tile, key_ranges)
    rows = [_query_tiles(x, tile) for x in (q, *saved)]
    k_tiles, v_tiles = _key_tiles(k, tile), _key_tiles(v, tile)

    def query_tile(n: jax.Array, made: QKVGrads) -> QKVGrads:
        q_tile, d_tile, lse_tile, delta_tile = (_at(x, n) for x in rows)
        q_tile = walk.scaled(q_tile)
        # A product is up to twice as fast if its first factor is not transposed: done once for all keys.
        q_across, d_across = (lax.optimization_barrier(x.T) for x in (q_tile, d_tile))

        def add(carry: QKVGrads, pair: _Pair) -> QKVGrads:
            d_q, d_k, d_v = carry
            k_tile = _at(k_tiles, pair.key)
            weights = jnp.exp(walk.scores(q_tile, k_tile, pair) - lse_tile[:, None])
            d_weights = _product("rh,sh->rs", d_tile, _at(v_tiles, pair.key))
            d_scores = weights * (d_weights - delta_tile[:, None])
            d_k = _add(d_k, pair.key, _product("hr,rs->hs", q_across, d_scores))
            d_v = _add(d_v, pair.key, _product("hr,rs->hs", d_across, weights))
            return QKVGrads(d_q + _product("rs,sh->rh", d_scores, k_tile), d_k, d_v)

        d_q, d_k, d_v = walk.over_keys(n, add, QKVGrads(_like(q_tile, 0.0), made.k, made.v))
        return QKVGrads(_put(made.q, n, d_q), d_k, d_v)

    zeros = _like(k_tiles.reshape(len(k_tiles), -1, tile), 0.0)
    d_q, d_k, d_v = lax.fori_loop(0, len(rows[0]), query_tile, QKVGrads(_like(rows[0], 0.0), zeros, zeros))
    d_k, d_v = (x.swapaxes(1, 2).reshape(k.shape) for x in (d_k, d_v))
    return QKVGrads(_whole_queries(d_q, q.shape, tile) * walk.scale, d_k, d_v)


class SoftmaxSums(NamedTuple):
    """Running sums of the online softmax for the rows of one query tile."""

    values: jax.Array  # [R,H], weighted sum of the values
    highest: jax.Array  # [R], maximum score so far
    weights: jax.Array  # [R], sum of the weights


class _Pair(NamedTuple):
    """Indices of a pair of tiles."""

    key: jax.Array  # key tile, among those of all rows and heads
    query_tokens: jax.Array  # tile in `_Walk.queries`
    key_tokens: jax.Array  # tile in `_Walk.keys`
    masked: bool  # whether scores need a mask


class _Walk(NamedTuple):
    """Iteration over pairs of tiles: every query tile of all rows and heads visits the key tiles within its bounds."""

    queries: Tokens  # [B·I,tile]
    keys: Tokens  # [B·C·J,tile]
    bounds: Bounds  # [B·I,C]
    heads: int
    query_tiles: int  # I
    key_tiles: int  # J, per key range
    scale: float  # factor of the scores

    @classmethod
    def of(cls, queries: Queries, keys: Keys, tile: int, key_ranges: int) -> _Walk:
        q, limits = queries.q, bounds(queries.tokens, keys.tokens, tile=tile, key_ranges=key_ranges)
        return cls(
            queries=Tokens(*(x.reshape(-1, tile) for x in queries.tokens)),
            keys=Tokens(*(x.reshape(-1, tile) for x in keys.tokens)),
            bounds=Bounds(*(x.reshape(-1, key_ranges) for x in limits)),
            heads=q.shape[1],
            query_tiles=q.shape[3] // tile,
            key_tiles=keys.k.shape[2] // tile // key_ranges,
            scale=1 / math.sqrt(q.shape[-1]),
        )

    def over_keys(self, n: jax.Array, add: Callable[[Carry, _Pair], Carry], carry: Carry) -> Carry:
        """Call `add` for every key tile within the bounds of query tile `n`, first for those that need no mask."""
        head = lax.div(n, self.query_tiles)  # among those of all rows
        row = lax.div(head, self.heads)
        tokens = row * self.query_tiles + lax.rem(n, self.query_tiles)
        key_ranges = self.bounds.start.shape[1]
        start, stop, full_start, full_stop = (_at(x, tokens) for x in self.bounds)

        def key_range(c: jax.Array, carry: Carry) -> Carry:
            key, key_tokens = ((x * key_ranges + c) * self.key_tiles for x in (head, row))
            full = full_stop[c] - full_start[c]

            def whole(j: jax.Array, carry: Carry) -> Carry:
                return add(carry, _Pair(key + j, tokens, key_tokens + j, False))

            def rest(j: jax.Array, carry: Carry) -> Carry:
                j = jnp.where(j < full_start[c], j, j + full)
                return add(carry, _Pair(key + j, tokens, key_tokens + j, True))

            carry = lax.fori_loop(full_start[c], full_stop[c], whole, carry)
            return lax.fori_loop(start[c], stop[c] - full, rest, carry)

        return lax.fori_loop(0, key_ranges, key_range, carry)

    def scaled(self, q_tile: jax.Array) -> jax.Array:
        """Multiply queries by the factor of the scores, in float32: fewer numbers than the scores of all keys."""
        return q_tile.astype(jnp.float32) * self.scale

    def scores(self, q_tile: jax.Array, k_tile: jax.Array, pair: _Pair) -> jax.Array:
        """Return the scores [R,tile], float32, of a query tile's scaled rows [R,H] and a key tile [tile,H]."""
        scores = _product("rh,sh->rs", q_tile, k_tile)
        if not pair.masked:
            return scores
        groups = len(q_tile) // len(k_tile)
        mine = (jnp.tile(_at(x, pair.query_tokens), groups) for x in self.queries)
        return jnp.where(visible(*mine, *(_at(x, pair.key_tokens) for x in self.keys)), scores, _MASKED)


def _query_tiles(x: jax.Array, tile: int) -> jax.Array:
    """[B,K,G,S,...] -> [B·K·I,R,...]."""
    groups, rest = x.shape[2], x.shape[4:]
    tiles = x.reshape(-1, groups, x.shape[3] // tile, tile, *rest).swapaxes(1, 2)
    return tiles.reshape(-1, groups * tile, *rest)


def _whole_queries(x: jax.Array, shape: tuple[int, ...], tile: int) -> jax.Array:
    """[B·K·I,R,...] -> [B,K,G,S,...], the `shape`."""
    return x.reshape(-1, shape[3] // tile, shape[2], tile, *shape[4:]).swapaxes(1, 2).reshape(shape)


def _key_tiles(x: jax.Array, tile: int) -> jax.Array:
    """[B,K,T,H] -> [B·K·J,tile,H]."""
    return x.reshape(-1, tile, x.shape[-1])


def _at(x: jax.Array, n: jax.Array) -> jax.Array:
    return lax.dynamic_index_in_dim(x, n, keepdims=False, allow_negative_indices=False)


def _put(x: jax.Array, n: jax.Array, part: jax.Array) -> jax.Array:
    return lax.dynamic_update_index_in_dim(x, part, n, axis=0, allow_negative_indices=False)


def _add(x: jax.Array, n: jax.Array, part: jax.Array) -> jax.Array:
    return _put(x, n, _at(x, n) + part)


def _like(x: jax.Array, value: float) -> jax.Array:
    """Return a float32 array of the shape of `x`, filled with `value`; in shard_map it varies over devices like `x`."""
    return jnp.full_like(x, value, jnp.float32)


def _product(subscripts: str, x: jax.Array, y: jax.Array) -> jax.Array:
    """Multiply in float32: a CPU converts bfloat16 to it anyway, and the weights are not rounded."""
    return jnp.einsum(subscripts, x.astype(jnp.float32), y.astype(jnp.float32))
