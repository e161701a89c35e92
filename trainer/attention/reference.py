"""Dense attention: the reference implementation that all others are tested against.

It materializes the matrix of scores [B,N,S,S] in float32 at the highest precision, so it is for tests and for sequences
of a few thousand tokens.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def dense_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array, positions: jax.Array
) -> jax.Array:
    """Return causal attention within segments, [B,S,N,H] float32.

    `q` is [B,S,N,H], `k` and `v` are [B,S,K,H], `segment_ids` and `positions` [B,S] int32. A query sees the keys of its
    own segment at its own or an earlier position, wherever they stand in the sequence; segment 0 is padding, which
    neither sees nor is seen and gives exactly 0. Query head n reads key/value head n // (N / K).
    """
    groups = q.shape[2] // k.shape[2]
    q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
    k, v = jnp.repeat(k, groups, axis=2), jnp.repeat(v, groups, axis=2)
    scores = jnp.einsum("bqnh,bsnh->bnqs", q, k, precision="highest") / math.sqrt(q.shape[-1])
    seen = visible(segment_ids, positions, segment_ids, positions)[:, None]
    seen = jnp.broadcast_to(seen, scores.shape)
    # A row that sees nothing would be NaN: it gets even weights here, and 0 after.
    weights = jnp.where(seen, jax.nn.softmax(jnp.where(seen, scores, -1e30), axis=-1), 0.0)
    return jnp.einsum("bnqs,bsnh->bqnh", weights, v, precision="highest")


def visible(q_segments: jax.Array, q_positions: jax.Array, k_segments: jax.Array, k_positions: jax.Array) -> jax.Array:
    """Return which keys [..., S] each query [..., Q] may attend to: bool [..., Q, S]. The only mask there is."""
    same = (q_segments[..., :, None] == k_segments[..., None, :]) & (q_segments[..., :, None] != 0)
    return same & (k_positions[..., None, :] <= q_positions[..., :, None])
