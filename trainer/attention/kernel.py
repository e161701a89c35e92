"""The protocol of one device's attention, and the kernels that keep it.

A kernel computes attention of some queries to some keys and returns its log-sum-exp, by which parts are put together;
backward gets the log-sum-exp of the whole sequence. So the ways over devices (`ring.py`, `all_gather.py`, `ulysses.py`)
know nothing of tiles, and a kernel knows nothing of devices.

    blockwise   XLA, anywhere
    fused       one Pallas kernel a direction, for a GPU (`fused.py`); "interpreted" runs it anywhere, slowly, for tests
"""

from __future__ import annotations

import warnings
from functools import cache, partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from trainer.attention import blockwise, fused
from trainer.attention.tiles import Tokens

KernelName = Literal["blockwise", "fused", "interpreted"]
Three = tuple[jax.Array, jax.Array, jax.Array]


class Forward(Protocol):
    """Attention of some queries to some keys."""

    def __call__(
        self, q: jax.Array, k: jax.Array, v: jax.Array, queries: Tokens, keys: Tokens, *, stretches: int = 1
    ) -> tuple[jax.Array, jax.Array]:
        """Return output and log-sum-exp, float32; see `blockwise.forward`."""


class Backward(Protocol):
    """The gradients of queries, keys and values."""

    def __call__(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        queries: Tokens,
        keys: Tokens,
        d_out: jax.Array,
        lse: jax.Array,
        delta: jax.Array,
        *,
        stretches: int = 1,
    ) -> Three:
        """Return dQ, dK, dV, float32; see `blockwise.backward`."""


class Kernel(NamedTuple):
    """Both directions."""

    forward: Forward
    backward: Backward


def kernel(name: KernelName, *, tile: int) -> Kernel:
    """Return the kernel of that name, for tokens cut into tiles of `tile`."""
    if name == "blockwise":
        return Kernel(partial(blockwise.forward, tile=tile), partial(blockwise.backward, tile=tile))
    side, interpret = fused.block(tile), name == "interpreted"
    return Kernel(
        partial(fused.forward, tile=side, interpret=interpret), partial(fused.backward, tile=side, interpret=interpret)
    )


def usable(name: KernelName | None, *, platform: str, tile: int, head_dim: int, dtype: Any) -> KernelName:
    """Return `name`, by default the fastest for the `platform`; blockwise, with one warning, where fused cannot run."""
    name = name or ("fused" if platform == "gpu" else "blockwise")
    if name != "fused":
        return name
    reason = fused.refusal(fused.block(tile), head_dim, jnp.dtype(dtype))
    if reason is None:
        return name
    _warn(f"attention runs without the fused kernel, several times slower: {reason}")
    return "blockwise"


@cache
def _warn(message: str) -> None:
    """Warn, once a message and process: attention is traced many times."""
    warnings.warn(message, stacklevel=4)


def merged(out: jax.Array, lse: jax.Array, more: jax.Array, more_lse: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Put attention to two sets of keys together: outputs [...,H] and log-sum-exps [...], float32.

    A side that saw nothing has a log-sum-exp of `blockwise.NOTHING`, which is finite: two of them stay at nothing.
    """
    top = jnp.maximum(lse, more_lse)
    weight, more_weight = jnp.exp(lse - top), jnp.exp(more_lse - top)
    total = weight + more_weight
    out = out * (weight / total)[..., None] + more * (more_weight / total)[..., None]
    return out, top + jnp.log(total)
