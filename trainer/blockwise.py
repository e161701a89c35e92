"""Attention a pair of tiles at a time: what one device does with the keys it holds at the moment.

`attend` adds keys to the online softmax of queries (Milakov & Gimelshein, arXiv 1805.02867); `differentiate` adds their
part to all three gradients, with weights rebuilt from the log-sum-exp (FlashAttention-2, arXiv 2307.08691, its second
algorithm). Both run over the list of those pairs of tiles that can meet, so cost follows the sum of length² over
documents, and the largest thing that exists is one tile of scores.

Local axes beside those of `trainer/__init__.py`: I tiles of queries, J tiles of keys (both with the batch folded in),
R = G·tile rows of a query tile. Tiles are contiguous, scores are [R, tile] and never the other way about, and dK and
dV are summed transposed: on CPU the forward is 4 times as fast as with scores transposed, the backward 1.6 times as
fast as with dK and dV as they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from trainer.attention import visible

# Masked scores lie below where the running maximum starts, so their weight is exp(-5e29) = 0 even in a row that has
# seen nothing yet.
_MASKED, _START = -1e30, -5e29


class Tokens(NamedTuple):
    """What tokens are, a tile at a time: both [tiles, tile] int32."""

    segment_ids: jax.Array
    positions: jax.Array


class Keys(NamedTuple):
    """What travels round the ring: keys and values [J,K,tile,H], and what their tokens are."""

    k: jax.Array
    v: jax.Array
    tokens: Tokens


class Sums(NamedTuple):
    """The online softmax so far, float32: weighted values [I,K,R,H], highest score and sum of weights [I,K,R]."""

    values: jax.Array
    highest: jax.Array
    weights: jax.Array


class Saved(NamedTuple):
    """What backward knows of the queries: themselves and dO [I,K,R,H], log-sum-exp and delta = sum(dO·O) [I,K,R]."""

    q: jax.Array
    d_out: jax.Array
    lse: jax.Array
    delta: jax.Array


class Gradients(NamedTuple):
    """Of keys and values so far, transposed: both [J,K,H,tile] float32. They travel with their keys."""

    k: jax.Array
    v: jax.Array


class Cut(NamedTuple):
    """How a device's part of the sequence is cut into tiles, and put together again.

    The number of tiles is the least that keeps them within the asked size; they are equal, and the last one is filled
    up with padding where the length asks for it.
    """

    batch: int
    length: int
    tile: int
    kv_heads: int
    groups: int
    scale: float  # of scores

    @classmethod
    def of(cls, q: jax.Array, k: jax.Array, tile: int) -> Cut:
        """Cut local `q` [B,S,N,H] and `k` [B,S,K,H] into tiles of at most `tile` tokens."""
        batch, length, heads, head_dim = q.shape
        size = -(-length // -(-length // tile))
        return cls(batch, length, size, k.shape[2], heads // k.shape[2], 1 / math.sqrt(head_dim))

    def tokens(self, segment_ids: jax.Array, positions: jax.Array) -> Tokens:
        """[B,S] -> [tiles, tile]."""
        return Tokens(*(self._padded(x).reshape(-1, self.tile) for x in (segment_ids, positions)))

    def keys(self, x: jax.Array) -> jax.Array:
        """[B,S,K,H] -> [J,K,tile,H]."""
        return self._padded(x).reshape(-1, self.tile, *x.shape[2:]).swapaxes(1, 2)

    def whole_keys(self, x: jax.Array) -> jax.Array:
        """[J,K,tile,H] -> [B,S,K,H]."""
        return x.swapaxes(1, 2).reshape(self.batch, -1, self.kv_heads, x.shape[-1])[:, : self.length]

    def queries(self, x: jax.Array) -> jax.Array:
        """[B,S,N,H] -> [I,K,R,H]."""
        tiles = self._padded(x).reshape(-1, self.tile, self.kv_heads, self.groups, x.shape[-1])
        return jnp.einsum("itkgh->ikgth", tiles).reshape(-1, self.kv_heads, self.groups * self.tile, x.shape[-1])

    def whole_queries(self, x: jax.Array) -> jax.Array:
        """[I,K,R,H] -> [B,S,N,H]."""
        tiles = x.reshape(-1, self.kv_heads, self.groups, self.tile, x.shape[-1])
        tokens = jnp.einsum("ikgth->itkgh", tiles).reshape(self.batch, -1, self.kv_heads * self.groups, x.shape[-1])
        return tokens[:, : self.length]

    def rows(self, x: jax.Array) -> jax.Array:
        """[B,S,N] -> [I,K,R]."""
        return self.queries(x[..., None])[..., 0]

    def whole_rows(self, x: jax.Array) -> jax.Array:
        """[I,K,R] -> [B,S,N]."""
        return self.whole_queries(x[..., None])[..., 0]

    def _padded(self, x: jax.Array) -> jax.Array:
        extra = -self.length % self.tile
        return jnp.pad(x, [(0, 0), (0, extra)] + [(0, 0)] * (x.ndim - 2)) if extra else x


def no_sums(queries: jax.Array) -> Sums:
    """Return the sums of queries [I,K,R,H] that have seen nothing."""
    rows = queries.shape[:-1]
    return Sums(
        jnp.zeros(queries.shape, jnp.float32), jnp.full(rows, _START, jnp.float32), jnp.zeros(rows, jnp.float32)
    )


def finish(sums: Sums) -> tuple[jax.Array, jax.Array]:
    """Return output [I,K,R,H] and log-sum-exp [I,K,R], float32; both are 0 in rows that saw nothing."""
    seen = sums.weights > 0
    weights = jnp.where(seen, sums.weights, 1.0)
    return sums.values / weights[..., None], jnp.where(seen, sums.highest + jnp.log(weights), 0.0)


def attend(sums: Sums, queries: jax.Array, tokens: Tokens, keys: Keys, cut: Cut) -> Sums:
    """Add what `keys` hold to the sums of `queries` [I,K,R,H], which stand for `tokens`."""
    pairs, count = live_pairs(tokens, keys.tokens, cut)

    def step(n: jax.Array, sums: Sums) -> Sums:
        i, j = pairs[0, n], pairs[1, n]
        scores = _scores(queries, tokens, keys, i, j, cut)
        highest = jnp.maximum(sums.highest[i], scores.max(-1))
        weights = jnp.exp(scores - highest[..., None])
        fade = jnp.exp(sums.highest[i] - highest)
        values = _product("krs,ksh->krh", weights.astype(keys.v.dtype), keys.v[j])
        return Sums(
            sums.values.at[i].set(sums.values[i] * fade[..., None] + values),
            sums.highest.at[i].set(highest),
            sums.weights.at[i].set(sums.weights[i] * fade + weights.sum(-1)),
        )

    return lax.fori_loop(0, count, step, sums)


def differentiate(
    d_q: jax.Array, gradients: Gradients, saved: Saved, tokens: Tokens, keys: Keys, cut: Cut
) -> tuple[jax.Array, Gradients]:
    """Add what `keys` give to the gradient of the queries, `d_q` [I,K,R,H] float32, and the queries to theirs."""
    pairs, count = live_pairs(tokens, keys.tokens, cut)
    dtype = keys.k.dtype

    def step(n: jax.Array, carry: tuple[jax.Array, Gradients]) -> tuple[jax.Array, Gradients]:
        d_q, gradients = carry
        i, j = pairs[0, n], pairs[1, n]
        weights = jnp.exp(_scores(saved.q, tokens, keys, i, j, cut) - saved.lse[i][..., None])
        d_weights = _product("krh,ksh->krs", saved.d_out[i], keys.v[j])
        d_scores = (weights * (d_weights - saved.delta[i][..., None]) * cut.scale).astype(dtype)
        d_k = _product("krs,krh->khs", d_scores, saved.q[i])
        d_v = _product("krs,krh->khs", weights.astype(dtype), saved.d_out[i])
        d_q = d_q.at[i].add(_product("krs,ksh->krh", d_scores, keys.k[j]))
        return d_q, Gradients(gradients.k.at[j].add(d_k), gradients.v.at[j].add(d_v))

    return lax.fori_loop(0, count, step, (d_q, gradients))


def live_pairs(queries: Tokens, keys: Tokens, cut: Cut) -> tuple[jax.Array, jax.Array]:
    """List the pairs of tiles that can meet: (i, j) as [2, all pairs] int32 with those first, and their number.

    Two tiles meet where their ranges of segments overlap and the first key is not after the last query. No pair that
    matters is left out; a few may be let in that the mask then empties.
    """
    first_q, last_q, _, end = (x.reshape(cut.batch, -1, 1) for x in _ranges(queries))
    first_k, last_k, begin, _ = (x.reshape(cut.batch, 1, -1) for x in _ranges(keys))
    live = (first_q <= last_k) & (first_k <= last_q) & (begin <= end)
    order = jnp.argsort(~live, axis=None, stable=True).astype(jnp.int32)
    row, i, j = jnp.unravel_index(order, live.shape)
    return jnp.stack([row * live.shape[1] + i, row * live.shape[2] + j]), live.sum(dtype=jnp.int32)


def _ranges(tokens: Tokens) -> list[jax.Array]:
    """Return first and last segment, first and last position of every tile, padding left out; empty ones meet none."""
    real = tokens.segment_ids != 0
    top = jnp.iinfo(jnp.int32).max
    return [end for x in tokens for end in (jnp.where(real, x, top).min(-1), jnp.where(real, x, -1).max(-1))]


def _scores(queries: jax.Array, tokens: Tokens, keys: Keys, i: jax.Array, j: jax.Array, cut: Cut) -> jax.Array:
    """Return the masked scores of a pair of tiles, [K,R,tile] float32."""
    scores = _product("krh,ksh->krs", queries[i], keys.k[j]) * cut.scale
    seen = visible(tokens.segment_ids[i], tokens.positions[i], keys.tokens.segment_ids[j], keys.tokens.positions[j])
    by_group = scores.reshape(cut.kv_heads, cut.groups, cut.tile, cut.tile)
    return jnp.where(jnp.broadcast_to(seen[None, None], by_group.shape), by_group, _MASKED).reshape(scores.shape)


def _product(subscripts: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, x, y, preferred_element_type=jnp.float32)
