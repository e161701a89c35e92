"""Attention over a sequence that is split over devices: one function and three context-parallel strategies.

    ring         keys and values travel around the devices      `ring.py`
    all_gather   every device receives all keys and values      `all_gather.py`
    ulysses      devices exchange tokens for heads, and back    `ulysses.py`

All give the same result. Each implements `protocol.ContextParallel` on the local arrays with a kernel (`kernel.py`).
With one device on the axis `sequence`, or without a mesh, the kernel runs alone. Segment ids and positions determine
which token sees which, so the order of the sequence does not matter.

docs/training_runs.md says what each sends and holds, and which to choose.

Accumulators and log-sum-exp are float32 whatever the inputs are; rows of padding come out as exactly 0.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec

from trainer.attention import all_gather, ring, ulysses
from trainer.attention import kernel as kernels
from trainer.attention.blockwise import NOTHING
from trainer.attention.kernel import KernelName
from trainer.attention.protocol import ContextParallel, Keys, Queries, Residuals
from trainer.attention.tiles import Tokens
from trainer.config import AttentionMethod
from trainer.divisibility import require_even, require_heads, require_rows
from trainer.mesh import AXES, RULES

OUT, LSE = "attention_out", "attention_lse"  # names under which a rematerialization policy may save them

STRATEGIES: dict[AttentionMethod, ContextParallel] = {"ring": ring, "all_gather": all_gather, "ulysses": ulysses}


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segment_ids: jax.Array,
    positions: jax.Array,
    *,
    mesh: Mesh | None,
    tile: int,
    method: AttentionMethod = "ring",
    kernel: KernelName | None = None,
) -> jax.Array:
    """Return causal attention within segments, [B,S,N,H] in q's dtype; the rule is that of `dense_attention`.

    `q` is [B,S,N,H], `k` and `v` are [B,S,K,H], `segment_ids` and `positions` [B,S] int32. They are global arrays: B is
    split over data x fsdp, S over sequence, heads over tensor. Scores are computed in squares of at most `tile` tokens,
    by the `kernel` that is fastest on the devices unless one is named (`kernel.usable`). Raises ConfigError where the
    mesh does not divide a dim.
    """
    rows, context, heads, _ = q.shape
    shape = dict.fromkeys(AXES, 1) if mesh is None else mesh.shape
    devices = shape["sequence"]
    require_heads(heads, k.shape[2], shape, method=method)
    require_rows(rows, shape)
    require_even(context, devices)
    tile, platform = even_tile(context // devices, tile), _platform(mesh)
    kernel = kernels.usable(kernel, platform=platform, tile=tile, head_dim=q.shape[3], dtype=q.dtype)
    plan = _Plan(method, devices, tile, kernel)
    local = partial(_attention, plan)
    if mesh is None:
        return local(q, k, v, segment_ids, positions)
    by_head = PartitionSpec(RULES["batch"], RULES["sequence"], RULES["heads"])
    by_token = PartitionSpec(RULES["batch"], RULES["sequence"])
    specs = (by_head, by_head, by_head, by_token, by_token)
    checked = kernel != "interpreted"  # the interpreter of Pallas loses track of what varies over devices
    mapped = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=by_head, check_vma=checked)
    return mapped(q, k, v, segment_ids, positions)


class _Plan(NamedTuple):
    """Static arguments of a compilation, besides shapes."""

    method: AttentionMethod
    devices: int
    tile: int
    kernel: KernelName


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    plan: _Plan, q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array, positions: jax.Array
) -> jax.Array:
    """Attention of one device's part to the whole sequence."""
    return _forward(plan, q, k, v, segment_ids, positions)[0]


def _forward(
    plan: _Plan, q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array, positions: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    heads = _Heads.of(q, k, plan.tile)
    inputs, inner = (
        heads.split(q, k, v, Tokens(segment_ids, positions)),
        kernels.make_kernel(plan.kernel, tile=plan.tile),
    )
    if plan.devices == 1:
        out, lse = inner.forward(*inputs)
    else:
        out, lse = STRATEGIES[plan.method].forward(*inputs, devices=plan.devices, kernel=inner)
    out = checkpoint_name(heads.joined_queries(out).astype(q.dtype), OUT)
    lse = checkpoint_name(lse, LSE)
    return out, (q, k, v, segment_ids, positions, out, lse)


def _backward(plan: _Plan, saved: tuple[jax.Array, ...], d_out: jax.Array) -> tuple[jax.Array | None, ...]:
    q, k, v, segment_ids, positions, out, lse = saved
    heads = _Heads.of(q, k, plan.tile)
    inputs, inner = (
        heads.split(q, k, v, Tokens(segment_ids, positions)),
        kernels.make_kernel(plan.kernel, tile=plan.tile),
    )
    delta = jnp.einsum("bsnh,bsnh->bsn", d_out, out, preferred_element_type=jnp.float32)
    # A row that sees nothing gets a log-sum-exp of 0, so that its masked scores weigh exp(-1e30) = 0 and not 1.
    lse = jnp.where(lse > NOTHING, lse, 0.0)
    residuals = Residuals(heads.split_queries(d_out), lse, heads.split_queries(delta[..., None])[..., 0])
    if plan.devices == 1:
        gradients = inner.backward(*inputs, residuals)
    else:
        gradients = STRATEGIES[plan.method].backward(*inputs, residuals, devices=plan.devices, kernel=inner)
    d_q, d_k, d_v = gradients
    d_k, d_v = heads.joined_keys(d_k).astype(k.dtype), heads.joined_keys(d_v).astype(v.dtype)
    return heads.joined_queries(d_q).astype(q.dtype), d_k, d_v, None, None


_attention.defvjp(_forward, _backward)


class _Heads(NamedTuple):
    """Conversion between [B,S,heads,H] and the layout of the kernels: tokens next to the head dim, in whole tiles."""

    kv_heads: int
    length: int
    extra: int  # tokens of padding that fill the last tile

    @classmethod
    def of(cls, q: jax.Array, k: jax.Array, tile: int) -> _Heads:
        return cls(k.shape[2], q.shape[1], -q.shape[1] % tile)

    def split(self, q: jax.Array, k: jax.Array, v: jax.Array, tokens: Tokens) -> tuple[Queries, Keys]:
        """Return what the kernels take."""
        tokens = Tokens(*(self.padded(x) for x in tokens))
        return Queries(self.split_queries(q), tokens), Keys(self.split_keys(k), self.split_keys(v), tokens)

    def padded(self, x: jax.Array) -> jax.Array:
        """Fill up the dim S of [B,S,...]."""
        return jnp.pad(x, [(0, 0), (0, self.extra)] + [(0, 0)] * (x.ndim - 2)) if self.extra else x

    def split_keys(self, x: jax.Array) -> jax.Array:
        """[B,S,K,H] -> [B,K,S,H]."""
        return jnp.einsum("bskh->bksh", self.padded(x))

    def joined_keys(self, x: jax.Array) -> jax.Array:
        """[B,K,S,H] -> [B,S,K,H]."""
        return jnp.einsum("bksh->bskh", x)[:, : self.length]

    def split_queries(self, x: jax.Array) -> jax.Array:
        """[B,S,N,H] -> [B,K,G,S,H]."""
        x = self.padded(x)
        return jnp.einsum("bskgh->bkgsh", x.reshape(*x.shape[:2], self.kv_heads, -1, x.shape[-1]))

    def joined_queries(self, x: jax.Array) -> jax.Array:
        """[B,K,G,S,H] -> [B,S,N,H]."""
        x = jnp.einsum("bkgsh->bskgh", x)[:, : self.length]
        return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _platform(mesh: Mesh | None) -> str:
    return jax.default_backend() if mesh is None else mesh.devices.flat[0].platform


def even_tile(length: int, tile: int) -> int:
    """Return the size of the tiles that cut `length` tokens into the least number of equal ones of at most `tile`."""
    return -(-length // -(-length // tile))
