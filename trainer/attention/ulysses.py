"""DeepSpeed-Ulysses: devices exchange sequence for heads, attend, and exchange back (Jacobs et al., arXiv 2309.14509).

Every device attends over the whole sequence with its share of the heads. An exchange sends 1/n of what an all-gather
does, but the sequence axis can be no longer than there are key/value heads.
"""

from __future__ import annotations

import jax
from jax import lax

from trainer.attention.kernel import Kernel, Three
from trainer.attention.tiles import Tokens


def forward(
    q: jax.Array, k: jax.Array, v: jax.Array, tokens: Tokens, *, devices: int, kernel: Kernel
) -> tuple[jax.Array, jax.Array]:
    """Return this device's output [B,K,G,S,H] and log-sum-exp [B,K,G,S], float32."""
    whole = _gathered(tokens)
    out, lse = kernel.forward(_heads(q, 3), _heads(k, 2), _heads(v, 2), whole, whole, stretches=devices)
    return _tokens(out, 3), _tokens(lse, 3)


def backward(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    tokens: Tokens,
    d_out: jax.Array,
    lse: jax.Array,
    delta: jax.Array,
    *,
    devices: int,
    kernel: Kernel,
) -> Three:
    """Return this device's dQ [B,K,G,S,H], dK and dV [B,K,S,H]; float32, and sent in the type of the inputs."""
    whole = _gathered(tokens)
    rows = [_heads(x, 3) for x in (d_out, lse, delta)]
    d_q, d_k, d_v = kernel.backward(_heads(q, 3), _heads(k, 2), _heads(v, 2), whole, whole, *rows, stretches=devices)
    return _tokens(d_q.astype(q.dtype), 3), _tokens(d_k.astype(k.dtype), 2), _tokens(d_v.astype(v.dtype), 2)


def _heads(x: jax.Array, sequence: int) -> jax.Array:
    """Give away tokens (dim `sequence`) for heads (dim 1): all heads of some tokens -> all tokens of some heads."""
    return lax.all_to_all(x, "sequence", split_axis=1, concat_axis=sequence, tiled=True)


def _tokens(x: jax.Array, sequence: int) -> jax.Array:
    """Give them back."""
    return lax.all_to_all(x, "sequence", split_axis=sequence, concat_axis=1, tiled=True)


def _gathered(tokens: Tokens) -> Tokens:
    return Tokens(*(lax.all_gather(x, "sequence", axis=1, tiled=True) for x in tokens))
