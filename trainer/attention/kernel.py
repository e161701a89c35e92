"""The kernels by name, which of them the devices can run, and how their partial results are merged.

blockwise   XLA, anywhere
fused       one Pallas kernel per direction, for a GPU (`fused.py`); "interpreted" runs it anywhere, slowly, for tests
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import jax.numpy as jnp

from trainer.attention import blockwise, fused
from trainer.attention.protocol import Kernel, Keys, Output, QKVGrads, Queries, Residuals

KernelName = Literal["blockwise", "fused", "interpreted"]


@dataclass(frozen=True)
class _Blockwise:
    tile: int

    def forward(self, queries: Queries, keys: Keys, *, key_ranges: int = 1) -> Output:
        return blockwise.forward(queries, keys, tile=self.tile, key_ranges=key_ranges)

    def backward(self, queries: Queries, keys: Keys, saved: Residuals, *, key_ranges: int = 1) -> QKVGrads:
        return blockwise.backward(queries, keys, saved, tile=self.tile, key_ranges=key_ranges)


@dataclass(frozen=True)
class _Fused:
    tile: int
    interpret: bool

    def forward(self, queries: Queries, keys: Keys, *, key_ranges: int = 1) -> Output:
        return fused.forward(queries, keys, tile=self.tile, key_ranges=key_ranges, interpret=self.interpret)

    def backward(self, queries: Queries, keys: Keys, saved: Residuals, *, key_ranges: int = 1) -> QKVGrads:
        return fused.backward(queries, keys, saved, tile=self.tile, key_ranges=key_ranges, interpret=self.interpret)


def make_kernel(name: KernelName, *, tile: int) -> Kernel:
    """Return the kernel `name` for tokens in tiles of `tile`."""
    if name == "blockwise":
        return _Blockwise(tile)
    return _Fused(fused.block(tile), interpret=name == "interpreted")


def usable(name: KernelName | None, *, platform: str, tile: int, head_dim: int, dtype: Any) -> KernelName:
    """Return `name`, by default the fastest for `platform`.

    Where the fused kernel cannot run, return blockwise and warn once.
    """
    name = name or ("fused" if platform == "gpu" else "blockwise")
    if name != "fused":
        return name
    reason = fused.unsupported_reason(fused.block(tile), head_dim, jnp.dtype(dtype))
    if reason is None:
        return name
    _warn(f"attention runs without the fused kernel, several times slower: {reason}")
    return "blockwise"


@cache
def _warn(message: str) -> None:
    """Warn once per message and process: attention is traced many times."""
    warnings.warn(message, stacklevel=4)


def merged(first: Output, second: Output) -> Output:
    """Merge attention to two sets of keys.

    Where neither side saw a key the log-sum-exp is `blockwise.NOTHING`, which is finite, and the output stays 0.
    """
    top = jnp.maximum(first.lse, second.lse)
    weight, more_weight = jnp.exp(first.lse - top), jnp.exp(second.lse - top)
    total = weight + more_weight
    out = first.out * (weight / total)[..., None] + second.out * (more_weight / total)[..., None]
    return Output(out, top + jnp.log(total))
