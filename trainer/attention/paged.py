"""Attention to a key/value cache in pages that is split over the devices of the mesh axis `sequence`.

The cache stays where it is: the queries of a block visit every device, each device attends to the pages that it holds,
and the partial results are combined by their log-sum-exp (ring decoding in LWM, flash-decoding elsewhere). Page j of a
row is on device j mod n, so the work is even at every length. A device only visits pages that are filled: the cost of a
step follows the length of the row, not the size of the cache.

A page belongs to one row, or to several that begin with the same tokens. Which ones a row has is said by its table
(`PageView`); `trainer/inference/page_pool.py` manages them.

Axes: those of `trainer/__init__.py`; R rows, T tokens of a page, P pages of all devices, J pages of a row on a device,
n devices on the axis `sequence`, U units of work (a row, some of its heads, a tile of its queries).
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trainer.attention.blockwise import NOTHING, SoftmaxSums
from trainer.attention.protocol import Output

QUERY_TILE = 128  # most query tokens that visit a page together

_MASKED, _START = -1e30, -5e29  # as in `blockwise.py`
_PAGES = PartitionSpec(None, "sequence", "tensor")


class Pages(NamedTuple):
    """Keys and values of all layers. The pages of a device are contiguous on the axis P."""

    k: jax.Array  # [L,P,K,T,H]; bfloat16 is stored as its bits, uint16
    v: jax.Array  # [L,P,K,T,H]


class PageView(NamedTuple):
    """The tokens of a block and the pages of their rows."""

    tables: jax.Array  # [n,R,J] int32: page j of a row is entry j // n of device j mod n, an index among its pages
    positions: jax.Array  # [R,S] int32: position in the row, which is also the place in its pages; -1: no token


def empty_pages(
    *, layers: int, pages: int, kv_heads: int, page: int, head_dim: int, dtype: str, mesh: Mesh | None
) -> Pages:
    """Return `pages` empty pages of `page` tokens on `mesh`, in place.

    The pages hold the bits of bfloat16: on a CPU, XLA writes and reads a part of a bfloat16 array by converting all of
    it to float32.
    """
    stored = "uint16" if dtype == "bfloat16" else dtype
    sharding = None if mesh is None else NamedSharding(mesh, _PAGES)
    shape = (layers, pages, kv_heads, page, head_dim)
    return Pages(*(jnp.zeros(shape, stored, device=sharding) for _ in range(2)))


def extend_pages(
    pages: Pages,
    layer: jax.Array | int,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    view: PageView,
    *,
    mesh: Mesh | None,
    split: bool,
) -> tuple[Pages, jax.Array]:
    """Write a block's keys and values into one layer, and attend from its queries to all tokens up to their own.

    `q` is [R,S,N,H], `k` and `v` are [R,S,K,H]; S is split over the axis `sequence` if `split`. Returns the pages
    and the attention output [R,S,N,H] in q's dtype, 0 for what is no token.
    """
    local = partial(_extend, devices=1 if mesh is None else mesh.shape["sequence"], split=split)
    layer = jnp.asarray(layer, jnp.int32)
    if mesh is None:
        return local(pages, layer, q, k, v, *view)
    block = PartitionSpec(None, "sequence" if split else None, "tensor")
    whole = PartitionSpec()
    mapped = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(_PAGES, whole, block, block, block, PartitionSpec("sequence"), whole),
        out_specs=(_PAGES, block),
        check_vma=False,
    )
    made: tuple[Pages, jax.Array] = mapped(pages, layer, q, k, v, *view)
    return made


def _extend(
    pages: Pages,
    layer: jax.Array,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    tables: jax.Array,
    positions: jax.Array,
    *,
    devices: int,
    split: bool,
) -> tuple[Pages, jax.Array]:
    """Do the part of one device."""
    device = lax.axis_index("sequence") if devices > 1 else jnp.int32(0)
    if split and devices > 1:
        q, k, v = (lax.all_gather(x, "sequence", axis=1, tiled=True) for x in (q, k, v))
    view = PageView(tables[0], positions)
    pages = _written(pages, layer, k, v, view, device=device, devices=devices)
    sums = _attend(pages, layer, q, view, device=device, devices=devices)
    out = sums.out if devices == 1 else _combined(sums, split=split)
    return pages, out.astype(q.dtype)


def _written(
    pages: Pages, layer: jax.Array, k: jax.Array, v: jax.Array, view: PageView, *, device: jax.Array, devices: int
) -> Pages:
    """Write keys and values [R,S,K,H] to the tokens' places in the pages of this device."""
    size, none = pages.k.shape[3], pages.k.shape[1]
    number = lax.div(view.positions, size)
    mine = (view.positions >= 0) & (lax.rem(number, devices) == device)
    entry = jnp.where(mine, lax.div(number, devices), 0)
    page = jnp.where(mine, jnp.take_along_axis(view.tables, entry, axis=1), none)
    place = jnp.where(mine, lax.rem(view.positions, size), 0)

    def put(x: jax.Array, new: jax.Array) -> jax.Array:
        bits = x.dtype == jnp.uint16
        stored = lax.bitcast_convert_type(new.astype(jnp.bfloat16), jnp.uint16) if bits else new.astype(x.dtype)
        return x.at[layer, page, :, place].set(stored, mode="drop")

    return Pages(put(pages.k, k), put(pages.v, v))


def _numbers(stored: jax.Array) -> jax.Array:
    """Return what pages hold as float32."""
    bits = stored.dtype == jnp.uint16
    return (lax.bitcast_convert_type(stored, jnp.bfloat16) if bits else stored).astype(jnp.float32)


def _attend(pages: Pages, layer: jax.Array, q: jax.Array, view: PageView, *, device: jax.Array, devices: int) -> Output:
    """Attend from queries [R,S,N,H] to the pages of this device: out [R,S,N,H] and lse [R,S,N], float32."""
    units = _Units.of(q, view.positions, kv_heads=pages.k.shape[2])
    size, together = pages.k.shape[3], units.heads
    scale = 1 / math.sqrt(q.shape[3])

    def unit(n: jax.Array, made: Output) -> Output:
        row, head, positions = units.place(n)
        queries = _at(units.q, n).astype(jnp.float32)
        asked = jnp.tile(positions, queries.shape[1] // len(positions))

        def add(j: jax.Array, sums: SoftmaxSums, *, masked: bool) -> SoftmaxSums:
            start = (layer, view.tables[row, j], head, 0, 0)
            k, v = (_numbers(lax.dynamic_slice(x, start, (1, 1, together, size, x.shape[4]))[0, 0]) for x in pages)
            scores = jnp.einsum("krh,kth->krt", queries, k) * scale
            if masked:
                known = (j * devices + device) * size + jnp.arange(size, dtype=jnp.int32)
                scores = jnp.where((known[None] <= asked[:, None])[None], scores, _MASKED)
            top = jnp.maximum(sums.highest, scores.max(-1))
            weight, fade = jnp.exp(scores - top[..., None]), jnp.exp(sums.highest - top)
            values = sums.values * fade[..., None] + jnp.einsum("krt,kth->krh", weight, v)
            return SoftmaxSums(values, top, sums.weights * fade + weight.sum(-1))

        # Pages before the first query of the tile need no mask. For one query, a second loop costs more than its mask.
        full = _held(lax.div(positions.min() + 1, size), device, devices) if len(positions) > 1 else jnp.int32(0)
        stop = _held(lax.div(positions.max() + size, size), device, devices)
        sums = SoftmaxSums(
            jnp.zeros_like(queries),
            jnp.full_like(queries[..., 0], _START),
            jnp.zeros_like(queries[..., 0]),
        )
        if len(positions) > 1:
            sums = lax.fori_loop(0, full, partial(add, masked=False), sums)
        sums = lax.fori_loop(full, stop, partial(add, masked=True), sums)
        seen = sums.weights > 0
        weights = jnp.where(seen, sums.weights, 1.0)
        lse = jnp.where(seen, sums.highest + jnp.log(weights), NOTHING)
        return Output(_put(made.out, n, sums.values / weights[..., None]), _put(made.lse, n, lse))

    nothing = Output(jnp.zeros_like(units.q, jnp.float32), jnp.zeros_like(units.q[..., 0], jnp.float32))
    return units.joined(lax.fori_loop(0, len(units.q), unit, nothing))


def _held(pages: jax.Array, device: jax.Array, devices: int) -> jax.Array:
    """Return how many of a row's first `pages` are on `device`."""
    return lax.div(jnp.maximum(pages - device + (devices - 1), 0), devices)


def _combined(sums: Output, *, split: bool) -> jax.Array:
    """Combine the results of all devices; with `split`, each device keeps those of its own tokens."""

    def total(x: jax.Array) -> jax.Array:
        if split:
            return lax.psum_scatter(x, "sequence", scatter_dimension=1, tiled=True)
        return lax.psum(x, "sequence")

    seen = sums.lse > NOTHING
    share = jnp.where(seen, jnp.exp(sums.lse - lax.pmax(sums.lse, "sequence")), 0.0)
    weights = total(share)
    return total(sums.out * share[..., None]) / jnp.where(weights > 0, weights, 1.0)[..., None]


class _Units(NamedTuple):
    """The units of work. A single token takes all heads at once, as loops over them would cost more than the work."""

    q: jax.Array  # [U,heads,G·tile,H]
    positions: jax.Array  # [R,tiles,tile]
    kv_heads: int
    heads: int  # key/value heads of a unit

    @classmethod
    def of(cls, q: jax.Array, positions: jax.Array, *, kv_heads: int) -> _Units:
        rows, length, heads, dim = q.shape
        tile = math.gcd(length, QUERY_TILE)
        together = kv_heads if tile < 8 else 1
        groups = heads // kv_heads
        x = q.reshape(rows, length // tile, tile, kv_heads // together, together, groups, dim)
        x = jnp.einsum("ritckgh->rcikgth", x).reshape(-1, together, groups * tile, dim)
        return cls(x, positions.reshape(rows, -1, tile), kv_heads, together)

    def place(self, n: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return the row of unit `n`, its first key/value head, and the positions [tile] of its queries."""
        tiles, parts = self.positions.shape[1], self.kv_heads // self.heads
        row = lax.div(n, tiles * parts)
        head = lax.rem(lax.div(n, tiles), parts) * self.heads
        return row, head, self.positions[row, lax.rem(n, tiles)]

    def joined(self, sums: Output) -> Output:
        """[U,heads,G·tile,...] -> [R,S,N,...]."""
        rows, tiles, tile = self.positions.shape

        def join(x: jax.Array) -> jax.Array:
            x = x.reshape(rows, self.kv_heads // self.heads, tiles, self.heads, -1, tile, *x.shape[3:])
            x = jnp.einsum("rcikgt...->ritckg...", x)
            return x.reshape(rows, tiles * tile, -1, *x.shape[6:])

        return Output(join(sums.out), join(sums.lse))


def _at(x: jax.Array, n: jax.Array) -> jax.Array:
    return lax.dynamic_index_in_dim(x, n, keepdims=False, allow_negative_indices=False)


def _put(x: jax.Array, n: jax.Array, part: jax.Array) -> jax.Array:
    return lax.dynamic_update_index_in_dim(x, part, n, axis=0, allow_negative_indices=False)
