"""DeepSpeed-Ulysses: devices exchange tokens for heads, attend, and exchange back (Jacobs et al., arXiv 2309.14509).

Every device attends over the whole sequence with its share of the heads. An exchange sends 1/n of what an all-gather
sends, but the sequence axis cannot be longer than the number of key/value heads.
"""

from __future__ import annotations

import jax
from jax import lax

from trainer.attention.protocol import Kernel, Keys, Output, QKVGrads, Queries, Residuals
from trainer.attention.tiles import Tokens


def forward(queries: Queries, keys: Keys, *, devices: int, kernel: Kernel) -> Output:
    """Return attention of this device's queries to all keys."""
    out, lse = kernel.forward(*_exchanged(queries, keys), key_ranges=devices)
    return Output(_to_tokens(out, 3), _to_tokens(lse, 3))


def backward(queries: Queries, keys: Keys, saved: Residuals, *, devices: int, kernel: Kernel) -> QKVGrads:
    """Return the gradients of this device's queries, keys and values, in the dtype of these."""
    saved = Residuals(*(_to_heads(x, 3) for x in saved))
    d_q, d_k, d_v = kernel.backward(*_exchanged(queries, keys), saved, key_ranges=devices)
    return QKVGrads(
        _to_tokens(d_q.astype(queries.q.dtype), 3),
        _to_tokens(d_k.astype(keys.k.dtype), 2),
        _to_tokens(d_v.astype(keys.v.dtype), 2),
    )


def _exchanged(queries: Queries, keys: Keys) -> tuple[Queries, Keys]:
    """Return the queries and keys of all tokens, for this device's share of the heads."""
    tokens = Tokens(*(lax.all_gather(x, "sequence", axis=1, tiled=True) for x in keys.tokens))
    return Queries(_to_heads(queries.q, 3), tokens), Keys(_to_heads(keys.k, 2), _to_heads(keys.v, 2), tokens)


def _to_heads(x: jax.Array, sequence: int) -> jax.Array:
    """Exchange all heads (dim 1) of some tokens (dim `sequence`) for all tokens of some heads."""
    return lax.all_to_all(x, "sequence", split_axis=1, concat_axis=sequence, tiled=True)


def _to_tokens(x: jax.Array, sequence: int) -> jax.Array:
    """Undo `_to_heads`."""
    return lax.all_to_all(x, "sequence", split_axis=sequence, concat_axis=1, tiled=True)
