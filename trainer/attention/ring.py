"""Ring attention: keys and values go round the devices of a sequence (Liu et al., arXiv 2310.01889).

Every device keeps its queries. A hop attends to the keys that are here while the next ones are already on their way:

    forward     K and V take n-1 hops
    backward    K and V take n-1 hops, dK and dV n; the last takes them home

In backward, too, nothing waits for what is sent: the sums for dK and dV that arrive during a hop are those of the same
keys, and what this device adds is added at the hop's end.

Limits: a hop is as slow as the device with the most work in it, so how even the ring runs is up to the layout of the
sequence (`layout.py`); all hops are taken even where no pair of tiles is left to compute.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from trainer.attention.blockwise import NOTHING
from trainer.attention.kernel import Kernel, Three, merged
from trainer.attention.tiles import Tokens

Tree = TypeVar("Tree")


class Keys(NamedTuple):
    """What travels: keys and values [B,K,T,H], and what their tokens are."""

    k: jax.Array
    v: jax.Array
    tokens: Tokens


def forward(
    q: jax.Array, k: jax.Array, v: jax.Array, tokens: Tokens, *, devices: int, kernel: Kernel
) -> tuple[jax.Array, jax.Array]:
    """Return this device's output [B,K,G,S,H] and log-sum-exp [B,K,G,S], float32."""

    def attend(out: jax.Array, lse: jax.Array, keys: Keys) -> tuple[jax.Array, jax.Array]:
        return merged(out, lse, *kernel.forward(q, keys.k, keys.v, tokens, keys.tokens))

    def hop(_: int, carry: tuple[jax.Array, jax.Array, Keys]) -> tuple[jax.Array, jax.Array, Keys]:
        out, lse, keys = carry
        arriving = _on(keys, devices)
        return *attend(out, lse, keys), arriving

    nothing = jnp.zeros_like(q, jnp.float32), jnp.full_like(q[..., 0], NOTHING, jnp.float32)
    out, lse, keys = lax.fori_loop(0, devices - 1, hop, (*nothing, Keys(k, v, tokens)))
    return attend(out, lse, keys)


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
    """Return this device's dQ [B,K,G,S,H], dK and dV [B,K,S,H], float32."""

    def differentiate(keys: Keys) -> Three:
        return kernel.backward(q, keys.k, keys.v, tokens, keys.tokens, d_out, lse, delta)

    def hop(_: int, carry: tuple[Three, Keys]) -> tuple[Three, Keys]:
        (d_q, *sums), keys = carry
        arriving, arrived = _on(keys, devices), _on(sums, devices)
        added = differentiate(keys)
        return jax.tree.map(jnp.add, (d_q, *arrived), added), arriving

    own = Keys(k, v, tokens)
    arriving = _on(own, devices)
    carry = differentiate(own), arriving  # no sums arrive at the first hop
    (d_q, *sums), keys = lax.fori_loop(0, devices - 2, hop, carry)
    arrived = _on(sums, devices)  # and no keys are sent on at the last
    d_q, *sums = jax.tree.map(jnp.add, (d_q, *arrived), differentiate(keys))
    d_k, d_v = _on(sums, devices)
    return d_q, d_k, d_v


def _on(tree: Tree, devices: int) -> Tree:
    """Hand every array of `tree` to the next device."""
    steps = [(i, (i + 1) % devices) for i in range(devices)]
    return jax.tree.map(lambda x: lax.ppermute(x, "sequence", steps), tree)
