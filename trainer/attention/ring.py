"""Ring attention: keys and values travel around the devices of a sequence (Liu et al., arXiv 2310.01889).

Every device keeps its queries. In each hop it attends to the keys it holds while the next keys are already arriving:

    forward     K and V take n-1 hops
    backward    K and V take n-1 hops, dK and dV n; the last one returns them to their device

The backward pass does not wait for transfers either: the partial sums of dK and dV that arrive during a hop belong to
the keys of that hop, and the device adds its contribution at the end of the hop.

Limits: a hop takes as long as the device with the most work, so the layout of the sequence (`data/layout.py`) decides
how balanced the ring is; all hops are taken even if no pair of tiles is left to compute.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from trainer.attention.blockwise import NOTHING
from trainer.attention.kernel import merged
from trainer.attention.protocol import Kernel, Keys, Output, QKVGrads, Queries, Residuals

Tree = TypeVar("Tree")


def forward(queries: Queries, keys: Keys, *, devices: int, kernel: Kernel) -> Output:
    """Return attention of this device's queries to all keys."""

    def attend(sums: Output, keys: Keys) -> Output:
        return merged(sums, kernel.forward(queries, keys))

    def hop(_: int, carry: tuple[Output, Keys]) -> tuple[Output, Keys]:
        sums, keys = carry
        arriving = _sent_on(keys, devices)
        return attend(sums, keys), arriving

    nothing = Output(jnp.zeros_like(queries.q, jnp.float32), jnp.full_like(queries.q[..., 0], NOTHING, jnp.float32))
    sums, keys = lax.fori_loop(0, devices - 1, hop, (nothing, keys))
    return attend(sums, keys)


def backward(queries: Queries, keys: Keys, saved: Residuals, *, devices: int, kernel: Kernel) -> QKVGrads:
    """Return the gradients of this device's queries, keys and values."""

    def differentiate(keys: Keys) -> QKVGrads:
        return kernel.backward(queries, keys, saved)

    def hop(_: int, carry: tuple[QKVGrads, Keys]) -> tuple[QKVGrads, Keys]:
        (d_q, *sums), keys = carry
        arriving, arrived = _sent_on(keys, devices), _sent_on(sums, devices)
        return jax.tree.map(jnp.add, QKVGrads(d_q, *arrived), differentiate(keys)), arriving

    arriving = _sent_on(keys, devices)
    carry = differentiate(keys), arriving  # no sums arrive at the first hop
    (d_q, *sums), keys = lax.fori_loop(0, devices - 2, hop, carry)
    arrived = _sent_on(sums, devices)  # and no keys are sent on at the last
    d_q, *sums = jax.tree.map(jnp.add, QKVGrads(d_q, *arrived), differentiate(keys))
    return QKVGrads(d_q, *_sent_on(sums, devices))


def _sent_on(tree: Tree, devices: int) -> Tree:
    """Send every array of `tree` to the next device, and receive those of the previous one."""
    steps = [(i, (i + 1) % devices) for i in range(devices)]
    return jax.tree.map(lambda x: lax.ppermute(x, "sequence", steps), tree)
