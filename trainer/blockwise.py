"""Attention of one device's queries to the keys it holds at the moment, a pair of tiles at a time.

`forward` is the online softmax (Milakov & Gimelshein, arXiv 1805.02867); `backward` adds up all three gradients with
weights rebuilt from the global log-sum-exp (FlashAttention-2, arXiv 2307.08691, its second algorithm). Each query tile
visits the key tiles of its bounds (`tiles.py`): first those that need no mask, then the rest. So cost follows the sum
of length² over documents, and the largest thing that exists is one tile of scores. `fused.py` has the same two
functions for an accelerator.

What made it fast on CPU, measured (`benchmarks/ring.py`): the mask and its comparisons stay off the tiles that need
none; a query tile's sums live in the inner loop alone; one key/value head at a time, so that a tile of scores stays in
the cache; tiles are contiguous, scores [R, tile] and never the other way about, dK and dV summed transposed.

Local axes beside those of `trainer/__init__.py`: T keys, R = G·tile rows of a query tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from trainer.dense import visible
from trainer.tiles import Bounds, Tokens, bounds

# Masked scores lie below where the running maximum starts, so their weight is exp(-5e29) = 0 even in a row that has
# seen nothing yet.
_MASKED, _START = -1e30, -5e29
NOTHING = -1e30  # log-sum-exp of a row that sees no key

Three = tuple[jax.Array, jax.Array, jax.Array]
Carry = TypeVar("Carry")


def forward(
    q: jax.Array, k: jax.Array, v: jax.Array, queries: Tokens, keys: Tokens, *, tile: int, stretches: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Return attention of `q` [B,K,G,S,H] to `k`, `v` [B,K,T,H]: [B,K,G,S,H] and log-sum-exp [B,K,G,S], float32.

    S and T are multiples of `tile`; the keys are so many equal `stretches` of reading order. A row that sees no key is
    exactly 0, and its log-sum-exp NOTHING.
    """
    walk = _Walk.of(q, k, queries, keys, tile, stretches)

    def query_tile(n: jax.Array, made: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        out, lse = made
        q_tile = walk.rows(q, n)

        def add(sums: Three, j: jax.Array, masked: bool) -> Three:
            values, highest, weights = sums
            scores = walk.scores(q_tile, k, n, j, masked)
            top = jnp.maximum(highest, scores.max(-1))
            weight, fade = jnp.exp(scores - top[:, None]), jnp.exp(highest - top)
            added = _product("rs,sh->rh", weight.astype(v.dtype), walk.keys(v, n, j))
            return values * fade[:, None] + added, top, weights * fade + weight.sum(-1)

        start = _like(q_tile, 0.0), _like(q_tile[:, 0], _START), _like(q_tile[:, 0], 0.0)
        values, highest, weights = walk.over_keys(n, add, start)
        seen = weights > 0
        weights = jnp.where(seen, weights, 1.0)
        out = walk.put_rows(out, n, values / weights[:, None])
        return out, walk.put_rows(lse, n, jnp.where(seen, highest + jnp.log(weights), NOTHING))

    return lax.fori_loop(0, walk.query_tiles, query_tile, (_like(q, 0.0), _like(q[..., 0], 0.0)))


def backward(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    queries: Tokens,
    keys: Tokens,
    d_out: jax.Array,
    lse: jax.Array,
    delta: jax.Array,
    *,
    tile: int,
    stretches: int = 1,
) -> Three:
    """Return what these keys add to dQ [B,K,G,S,H], and dK and dV [B,K,T,H], float32.

    `d_out` [B,K,G,S,H] is the gradient of the output; `lse` and `delta` = sum(dO·O), [B,K,G,S], are of the whole
    sequence, and the log-sum-exp of a row that sees nothing is 0.
    """
    walk = _Walk.of(q, k, queries, keys, tile, stretches)

    def query_tile(n: jax.Array, made: Three) -> Three:
        q_tile, d_tile, lse_tile, delta_tile = (walk.rows(x, n) for x in (q, d_out, lse, delta))

        def add(carry: Three, j: jax.Array, masked: bool) -> Three:
            d_q, d_k, d_v = carry
            weights = jnp.exp(walk.scores(q_tile, k, n, j, masked) - lse_tile[:, None])
            d_weights = _product("rh,sh->rs", d_tile, walk.keys(v, n, j))
            d_scores = (weights * (d_weights - delta_tile[:, None])).astype(k.dtype)
            d_k = walk.add_keys(d_k, n, j, _product("rs,rh->hs", d_scores, q_tile))
            d_v = walk.add_keys(d_v, n, j, _product("rs,rh->hs", weights.astype(k.dtype), d_tile))
            return d_q + _product("rs,sh->rh", d_scores, walk.keys(k, n, j)), d_k, d_v

        d_q, d_k, d_v = walk.over_keys(n, add, (_like(q_tile, 0.0), *made[1:]))
        return walk.put_rows(made[0], n, d_q), d_k, d_v

    batch, heads, length, head_dim = k.shape
    zeros = _like(k.reshape(batch, heads, length // tile, head_dim, tile), 0.0)
    d_q, d_k, d_v = lax.fori_loop(0, walk.query_tiles, query_tile, (_like(q, 0.0), zeros, zeros))
    d_k, d_v = (jnp.einsum("bkjht->bkjth", x).reshape(k.shape) for x in (d_k, d_v))
    return d_q * walk.scale, d_k * walk.scale, d_v


class _Walk(NamedTuple):
    """The way through the pairs of tiles: query tile n is tile i of head m, and visits the tiles j of its bounds."""

    queries: Tokens
    keys_: Tokens
    bounds: Bounds
    heads: int
    tile: int
    scale: float  # of scores

    @classmethod
    def of(cls, q: jax.Array, k: jax.Array, queries: Tokens, keys: Tokens, tile: int, stretches: int) -> _Walk:
        limits = bounds(queries, keys, tile=tile, stretches=stretches)
        return cls(queries, keys, limits, q.shape[1], tile, 1 / math.sqrt(q.shape[-1]))

    @property
    def query_tiles(self) -> int:
        """Number of query tiles of all rows and heads."""
        batch, tiles, _ = self.bounds.start.shape
        return batch * self.heads * tiles

    def at(self, n: jax.Array) -> Three:
        """Return row of the batch, key/value head and place of query tile `n`."""
        m, i = jnp.divmod(n, self.bounds.start.shape[1])
        return *jnp.divmod(m, self.heads), i

    def rows(self, x: jax.Array, n: jax.Array) -> jax.Array:
        """Take the rows of query tile `n` out of [B,K,G,S,...]: [R,...]."""
        b, head, i = self.at(n)
        taken = lax.dynamic_slice_in_dim(x[b, head], i * self.tile, self.tile, axis=1)
        return taken.reshape(-1, *x.shape[4:])

    def put_rows(self, x: jax.Array, n: jax.Array, rows: jax.Array) -> jax.Array:
        """Put them back."""
        b, head, i = self.at(n)
        block = rows.reshape(1, 1, x.shape[2], self.tile, *x.shape[4:])
        return lax.dynamic_update_slice(x, block, (b, head, 0, i * self.tile, *(0 for _ in x.shape[4:])))

    def keys(self, x: jax.Array, n: jax.Array, j: jax.Array) -> jax.Array:
        """Take key tile `j` out of [B,K,T,H]: [tile,H]."""
        b, head, _ = self.at(n)
        return lax.dynamic_slice(x, (b, head, j * self.tile, 0), (1, 1, self.tile, x.shape[-1]))[0, 0]

    def add_keys(self, x: jax.Array, n: jax.Array, j: jax.Array, added: jax.Array) -> jax.Array:
        """Add to key tile `j` of [B,K,J,H,tile]."""
        b, head, _ = self.at(n)
        return x.at[b, head, j].add(added)

    def over_keys(self, n: jax.Array, add: Callable[[Carry, jax.Array, bool], Carry], carry: Carry) -> Carry:
        """Call `add` for every key tile that query tile `n` can meet, first for those that need no mask."""
        b, _, i = self.at(n)
        stretches = self.bounds.start.shape[2]
        tiles = self.keys_.positions.shape[1] // self.tile // stretches

        def stretch(c: int | jax.Array, carry: Carry) -> Carry:
            start, stop, full_start, full_stop = (x[b, i, c] for x in self.bounds)
            full, first = full_stop - full_start, c * tiles
            carry = lax.fori_loop(full_start, full_stop, lambda j, x: add(x, first + j, False), carry)

            def rest(t: jax.Array, carry: Carry) -> Carry:
                j = start + t
                return add(carry, first + j + jnp.where(j >= full_start, full, 0), True)

            return lax.fori_loop(0, stop - start - full, rest, carry)

        return stretch(0, carry) if stretches == 1 else lax.fori_loop(0, stretches, stretch, carry)

    def scores(self, q_tile: jax.Array, k: jax.Array, n: jax.Array, j: jax.Array, masked: bool) -> jax.Array:
        """Return the scores [R,tile], float32, of a query tile's rows [R,H] and key tile `j`."""
        scores = _product("rh,sh->rs", q_tile, self.keys(k, n, j)) * self.scale
        if not masked:
            return scores
        b, _, i = self.at(n)
        groups = q_tile.shape[0] // self.tile
        mine = (jnp.tile(self._tile_of(x[b], i), groups) for x in self.queries)
        seen = visible(*mine, *(self._tile_of(x[b], j) for x in self.keys_))
        return jnp.where(seen, scores, _MASKED)

    def _tile_of(self, x: jax.Array, i: jax.Array) -> jax.Array:
        return lax.dynamic_slice_in_dim(x, i * self.tile, self.tile)


def _like(x: jax.Array, value: float) -> jax.Array:
    """Fill an array of the shape of `x` with float32; inside shard_map it counts as different on every device, too."""
    return jnp.full_like(x, value, jnp.float32)


def _product(subscripts: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, x, y, preferred_element_type=jnp.float32)
