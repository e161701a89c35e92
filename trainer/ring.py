"""Ring attention: exact attention over a sequence that no device holds whole (Liu et al., arXiv 2310.01889).

Every device of the `sequence` axis keeps its queries; keys and values go round the ring, and each device adds what
reaches it (`blockwise.py`). Segment ids and positions travel with keys and values, so any permutation of the sequence
gives the same result.

    forward     K and V take n-1 hops
    backward    weights are rebuilt from the global log-sum-exp; K and V take n-1 hops, dK and dV take n

Keys and values are sent on before a device computes with them, so that a compiler that can overlaps the two. With one
device on the axis, or no mesh, this is plain blockwise attention. Accumulators and log-sum-exp are float32 whatever the
inputs are; rows of padding come out as exactly 0.

Limits: a hop is as slow as the device with the most work in it, so how even the ring runs is up to the layout of the
sequence (`layout.py`); all hops are taken even where no pair of tiles is left to compute.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec

from schemas.errors import ConfigError
from trainer.blockwise import Cut, Gradients, Keys, Saved, Sums, attend, differentiate, finish, no_sums
from trainer.mesh import RULES

OUT, LSE = "attention_out", "attention_lse"  # names under which a rematerialisation policy may save them


def ring_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segment_ids: jax.Array,
    positions: jax.Array,
    *,
    mesh: Mesh | None,
    tile: int,
) -> jax.Array:
    """Return causal attention within segments, [B,S,N,H] in q's dtype; the rule is that of `dense_attention`.

    `q` is [B,S,N,H], `k` and `v` are [B,S,K,H], `segment_ids` and `positions` [B,S] int32. They are global arrays: B is
    split over data x fsdp, S over sequence, heads over tensor. Scores are computed in squares of at most `tile` tokens.
    Raises ConfigError where the mesh does not divide a dim.
    """
    _check(q, k, mesh)
    return _attention(q, k, v, segment_ids, positions, mesh, tile)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _attention(
    q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array, positions: jax.Array, mesh: Mesh | None, tile: int
) -> jax.Array:
    return _over(mesh, partial(_forward, tile=tile), "hhhtt", "hr")(q, k, v, segment_ids, positions)[0]


def _attention_forward(
    q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array, positions: jax.Array, mesh: Mesh | None, tile: int
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    out, lse = _over(mesh, partial(_forward, tile=tile), "hhhtt", "hr")(q, k, v, segment_ids, positions)
    out, lse = checkpoint_name(out, OUT), checkpoint_name(lse, LSE)
    return out, (q, k, v, segment_ids, positions, out, lse)


def _attention_backward(
    mesh: Mesh | None, tile: int, saved: tuple[jax.Array, ...], d_out: jax.Array
) -> tuple[jax.Array | None, ...]:
    d_q, d_k, d_v = _over(mesh, partial(_backward, tile=tile), "hhhtthrh", "hhh")(*saved, d_out)
    return d_q, d_k, d_v, None, None


_attention.defvjp(_attention_forward, _attention_backward)


class Ring(NamedTuple):
    """The devices that one sequence is split over."""

    size: int

    def on(self, tree: Any) -> Any:
        """Hand every array of `tree` to the next device."""
        if self.size == 1:
            return tree
        steps = [(i, (i + 1) % self.size) for i in range(self.size)]
        return jax.tree.map(lambda x: lax.ppermute(x, "sequence", steps), tree)


def _over(mesh: Mesh | None, local: Callable[..., Any], inputs: str, outputs: str) -> Callable[..., Any]:
    """Run `local(*arrays, ring=...)` on every device's part; a letter an array: h [B,S,heads,H], r [B,S,N], t [B,S]."""
    if mesh is None:
        return partial(local, ring=Ring(1))
    batch, sequence, heads = RULES["batch"], RULES["sequence"], RULES["heads"]
    specs = {
        "h": PartitionSpec(batch, sequence, heads, None),
        "r": PartitionSpec(batch, sequence, heads),
        "t": PartitionSpec(batch, sequence),
    }
    return jax.shard_map(
        partial(local, ring=Ring(mesh.shape["sequence"])),
        mesh=mesh,
        in_specs=tuple(specs[x] for x in inputs),
        out_specs=tuple(specs[x] for x in outputs),
        check_vma=False,  # nothing is differentiated through it: both directions are written out here
    )


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array, positions: jax.Array, *, tile: int, ring: Ring
) -> tuple[jax.Array, jax.Array]:
    """Return this device's output [B,S,N,H] and log-sum-exp [B,S,N] float32."""
    cut = Cut.of(q, k, tile)
    queries, tokens = cut.queries(q), cut.tokens(segment_ids, positions)

    def hop(_: int, carry: tuple[Sums, Keys]) -> tuple[Sums, Keys]:
        sums, keys = carry
        arriving = ring.on(keys)
        return attend(sums, queries, tokens, keys, cut), arriving

    start = no_sums(queries), Keys(cut.keys(k), cut.keys(v), tokens)
    sums, keys = lax.fori_loop(0, ring.size - 1, hop, start)
    out, lse = finish(attend(sums, queries, tokens, keys, cut))
    return cut.whole_queries(out).astype(q.dtype), cut.whole_rows(lse)


def _backward(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segment_ids: jax.Array,
    positions: jax.Array,
    out: jax.Array,
    lse: jax.Array,
    d_out: jax.Array,
    *,
    tile: int,
    ring: Ring,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return this device's dQ [B,S,N,H], dK and dV [B,S,K,H], in the inputs' dtype."""
    cut = Cut.of(q, k, tile)
    delta = jnp.einsum("bsnh,bsnh->bsn", d_out, out, preferred_element_type=jnp.float32)
    saved = Saved(cut.queries(q), cut.queries(d_out), cut.rows(lse), cut.rows(delta))
    tokens = cut.tokens(segment_ids, positions)

    def hop(_: int, carry: tuple[jax.Array, Gradients, Keys]) -> tuple[jax.Array, Gradients, Keys]:
        d_q, gradients, keys = carry
        arriving = ring.on(keys)
        d_q, gradients = differentiate(d_q, gradients, saved, tokens, keys, cut)
        return d_q, ring.on(gradients), arriving

    keys = Keys(cut.keys(k), cut.keys(v), tokens)
    zeros = jnp.zeros(keys.k.swapaxes(2, 3).shape, jnp.float32)
    start = jnp.zeros(saved.q.shape, jnp.float32), Gradients(zeros, zeros), keys
    d_q, gradients, keys = lax.fori_loop(0, ring.size - 1, hop, start)
    d_q, gradients = differentiate(d_q, gradients, saved, tokens, keys, cut)
    d_k, d_v = (cut.whole_keys(x.swapaxes(2, 3)) for x in ring.on(gradients))  # the last hop takes them home
    return cut.whole_queries(d_q).astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype)


def _check(q: jax.Array, k: jax.Array, mesh: Mesh | None) -> None:
    if q.shape[2] % k.shape[2]:
        raise ConfigError(f"{q.shape[2]} query heads cannot share {k.shape[2]} key/value heads evenly")
    if mesh is None:
        return
    dims = {"batch": (q.shape[0], "rows"), "sequence": (q.shape[1], "tokens"), "kv_heads": (k.shape[2], "k/v heads")}
    for dim, (size, what) in dims.items():
        devices = math.prod(mesh.shape[axis] for axis in RULES[dim])
        if size % devices:
            raise ConfigError(f"{size} {what} cannot be split over {' x '.join(RULES[dim])} = {devices} devices")
