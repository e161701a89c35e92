"""The arrays that attention passes around, and the interfaces of a kernel and of a context-parallel strategy.

A kernel computes attention of some queries to some keys on one device and returns its log-sum-exp, by which partial
results are merged; its backward takes the log-sum-exp of the whole sequence. So strategies (`ring.py`, `all_gather.py`,
`ulysses.py`) know nothing about tiles, and kernels (`blockwise.py`, `fused.py`) know nothing about devices.

Axes: those of `trainer/__init__.py`; T keys.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax

from trainer.attention.tiles import Tokens


class Queries(NamedTuple):
    """Queries and their tokens."""

    q: jax.Array  # [B,K,G,S,H]
    tokens: Tokens  # [B,S]


class Keys(NamedTuple):
    """Keys and values, and their tokens."""

    k: jax.Array  # [B,K,T,H]
    v: jax.Array  # [B,K,T,H]
    tokens: Tokens  # [B,T]


class Output(NamedTuple):
    """Attention to some keys, float32. A row that sees no key is 0, and its log-sum-exp `blockwise.NOTHING`."""

    out: jax.Array  # [B,K,G,S,H]
    lse: jax.Array  # [B,K,G,S]


class Residuals(NamedTuple):
    """What the backward pass needs besides its inputs. `lse` and `delta` belong to the whole sequence, float32."""

    d_out: jax.Array  # [B,K,G,S,H], the gradient of the output
    lse: jax.Array  # [B,K,G,S]; 0 for a row that sees no key
    delta: jax.Array  # [B,K,G,S], the sum of d_out * out over H


class QKVGrads(NamedTuple):
    """Gradients, float32 unless a strategy says otherwise."""

    q: jax.Array  # [B,K,G,S,H]
    k: jax.Array  # [B,K,T,H]
    v: jax.Array  # [B,K,T,H]


class Kernel(Protocol):
    """Attention of one device's queries to the keys that it holds at the moment.

    The keys are `key_ranges` equal ranges, each in reading order: one per device that they were gathered from.
    """

    def forward(self, queries: Queries, keys: Keys, *, key_ranges: int = 1) -> Output:
        """Return attention to these keys."""

    def backward(self, queries: Queries, keys: Keys, saved: Residuals, *, key_ranges: int = 1) -> QKVGrads:
        """Return what these keys contribute to dQ, and their dK and dV."""


class ContextParallel(Protocol):
    """A way to compute attention when each of several `devices` holds a part of the sequence.

    Both functions run inside shard_map, on the parts of one device; a module with these two functions is a strategy.
    """

    def forward(self, queries: Queries, keys: Keys, *, devices: int, kernel: Kernel) -> Output:
        """Return attention of this device's queries to all keys."""

    def backward(self, queries: Queries, keys: Keys, saved: Residuals, *, devices: int, kernel: Kernel) -> QKVGrads:
        """Return the gradients of this device's queries, keys and values."""
