"""From logits to ids, for rows with different settings, inside a jitted loop.

The random numbers of a row come from its own key and position, so an id depends neither on the other rows of the batch
nor on the number of devices. Thresholds of top-k and top-p are found by bisection over the bits of the logits: exact,
without sorting the vocabulary.

Axes: B rows, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class SamplingRows(NamedTuple):
    """The fields of `requests.Sampling` for every row, [B]."""

    temperature: jax.Array  # float32; 0: greedy
    top_k: jax.Array  # int32; 0: all
    top_p: jax.Array  # float32
    min_p: jax.Array  # float32
    penalty: jax.Array  # float32
    key: jax.Array  # [B,2] uint32: the seed's high and low bits


def guided(logits: jax.Array, other: jax.Array, scale: jax.Array) -> jax.Array:
    """Mix `logits` [B,V] with those of the other prompt; rows with `scale` [B] 1 keep theirs to the bit."""
    mixed = other + scale[:, None] * (logits - other)
    return jnp.where((scale == 1)[:, None], logits, mixed)


def penalized(logits: jax.Array, seen: jax.Array, penalty: jax.Array) -> jax.Array:
    """Make the ids of `seen`, bool [B,V], less likely (Keskar et al., arXiv 1909.05858)."""
    by = penalty[:, None]
    return jnp.where(seen, jnp.where(logits > 0, logits / by, logits * by), logits)


def draw(logits: jax.Array, rows: SamplingRows, positions: jax.Array) -> jax.Array:
    """Draw the id at `positions` [B] of every row: [B] int32. Ids that are not allowed have the logit -inf."""
    likeliest = logits.argmax(axis=-1).astype(jnp.int32)

    def random() -> jax.Array:
        hot = rows.temperature > 0
        scaled = logits - logits.max(axis=-1, keepdims=True)
        scaled = scaled / jnp.where(hot, rows.temperature, 1.0)[:, None]
        filtered = (rows.top_k > 0) | (rows.top_p < 1) | (rows.min_p > 0)
        scaled = lax.cond((filtered & hot).any(), lambda: _filtered(scaled, rows), lambda: scaled)
        drawn = (scaled + _noise(rows.key, positions, logits.shape[1])).argmax(axis=-1).astype(jnp.int32)
        return jnp.where(hot, drawn, likeliest)

    return lax.cond((rows.temperature > 0).any(), random, lambda: likeliest)


def _noise(keys: jax.Array, positions: jax.Array, size: int) -> jax.Array:
    """Return Gumbel noise [B,V], each row from its key and position."""

    def row(key: jax.Array, position: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(jax.random.wrap_key_data(key), position), (size,), jnp.float32)

    return jax.vmap(row)(keys, positions)


def _filtered(scaled: jax.Array, rows: SamplingRows) -> jax.Array:
    """Set the ids that top-k, top-p and min-p leave out to -inf; the highest of each row of `scaled` is 0."""
    order, size = _ordered(scaled), scaled.shape[1]
    k = jnp.where(rows.top_k > 0, jnp.minimum(rows.top_k, size), size).astype(jnp.float32)
    kept = order >= _threshold(order, jnp.ones_like(scaled), k)[:, None]
    shares = jnp.where(kept, jnp.exp(scaled), 0.0)
    least = _threshold(order, shares, shares.sum(-1) * rows.top_p)
    kept &= (order >= least[:, None]) | (rows.top_p >= 1)[:, None]
    kept &= jnp.exp(scaled) >= rows.min_p[:, None]
    return jnp.where(kept, scaled, -jnp.inf)


def _ordered(x: jax.Array) -> jax.Array:
    """Return uint32 numbers in the order of float32 ones."""
    bits, sign = lax.bitcast_convert_type(x, jnp.uint32), jnp.uint32(1 << 31)
    return jnp.where(bits >= sign, ~bits, bits | sign)


def _threshold(order: jax.Array, weights: jax.Array, needed: jax.Array) -> jax.Array:
    """Return the highest number [B] such that the ids with at least that `order` weigh `needed` [B] or more."""

    def bit(n: jax.Array, found: jax.Array) -> jax.Array:
        tried = found | (jnp.uint32(1 << 31) >> n.astype(jnp.uint32))
        enough = jnp.where(order >= tried[:, None], weights, 0.0).sum(-1) >= needed
        return jnp.where(enough, tried, found)

    return lax.fori_loop(0, 32, bit, jnp.zeros(len(order), jnp.uint32))


class Alternatives(NamedTuple):
    """Log-probabilities of the chosen ids and of the likeliest ones."""

    chosen: jax.Array  # [B] float32
    ids: jax.Array  # [B,n] int32
    logprobs: jax.Array  # [B,n] float32


def alternatives(logits: jax.Array, chosen: jax.Array, *, count: int) -> Alternatives:
    """Return the log-probabilities of `chosen` [B] and of the `count` likeliest ids."""
    shares = jax.nn.log_softmax(logits, axis=-1)
    best, ids = lax.top_k(shares, count)
    return Alternatives(jnp.take_along_axis(shares, chosen[:, None], axis=1)[:, 0], ids.astype(jnp.int32), best)
