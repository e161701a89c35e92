"""Bounds of attention's loops: the pairs of query and key tiles that interact.

A query attends to keys of its own segment at its own or an earlier position. In the order of (segment, position) it
attends to nothing after itself and nothing before the start of its segment, so two tiles interact only if

    first key <= last query      and      segment of the last key >= segment of the first query

where first and last refer to that order within a tile. If a key range is in reading order, as each device's part is in
every layout of `layout.py`, the key tiles that interact with a query tile form one interval. In any other order the
interval may contain tiles that are fully masked, but it never omits a tile that interacts.

Bounds are values, not shapes, so one compilation works for every packing.

Axes: B batch, I tiles of queries, J tiles of keys, C key ranges (one per device that keys were gathered from).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Tokens(NamedTuple):
    """Segment and position of every token, both [B,S] int32. Segment 0 is padding."""

    segment_ids: jax.Array
    positions: jax.Array


class Bounds(NamedTuple):
    """The key tiles to visit for every query tile and key range, [B,I,C] int32, as indices within the key range.

    Tiles in `start..stop` may interact; those in `full_start..full_stop`, a part of it, need no mask.
    """

    start: jax.Array
    stop: jax.Array
    full_start: jax.Array
    full_stop: jax.Array


def bounds(queries: Tokens, keys: Tokens, *, tile: int, key_ranges: int = 1) -> Bounds:
    """Return the bounds for tokens [B,S] and [B,T], whose lengths are multiples of `tile` and of `key_ranges`."""
    live, full = meetings(queries, keys, tile=tile)
    start, stop = spans(live, key_ranges=key_ranges)
    full_start, _ = spans(full, key_ranges=key_ranges)
    # The unmasked run ends at the first tile after its start that needs a mask.
    full = full.reshape(*start.shape, -1)
    count = full.shape[-1]
    places = lax.broadcasted_iota(jnp.int32, full.shape, 3)
    full_stop = jnp.where(~full & (places > full_start[..., None]), places, count).min(-1)
    none = ~full.any(-1)
    return Bounds(start, stop, jnp.where(none, stop, full_start), jnp.where(none, stop, full_stop))


def spans(live: jax.Array, *, key_ranges: int) -> tuple[jax.Array, jax.Array]:
    """Return `start` and `stop`, as in Bounds, of the true entries in each key range of `live` [B,I,J]."""
    return _span(live.reshape(*live.shape[:2], key_ranges, -1))


def meetings(queries: Tokens, keys: Tokens, *, tile: int) -> tuple[jax.Array, jax.Array]:
    """Return which pairs of tiles may interact and which need no mask, both bool [B,I,J]."""
    q, k = (_Extent.of(x, tile) for x in (queries, keys))
    q, k = _Extent(*(x[:, :, None] for x in q)), _Extent(*(x[:, None, :] for x in k))
    begun = (k.first < q.last) | ((k.first == q.last) & (k.first_position <= q.last_position))
    live = begun & (k.last >= q.first)
    alone = q.whole & k.whole & (q.first == q.last) & (k.first == k.last) & (q.first == k.first)
    return live, alone & (k.highest <= q.lowest)


class _Extent(NamedTuple):
    """Ranges of segments and positions of every tile, each [B,tiles]."""

    first: jax.Array  # lowest segment; the largest int32 if the tile is all padding
    last: jax.Array  # highest segment; -1 if the tile is all padding
    first_position: jax.Array  # lowest position in the first segment
    last_position: jax.Array  # highest position in the last segment
    lowest: jax.Array  # position
    highest: jax.Array  # position
    whole: jax.Array  # bool: no padding

    @classmethod
    def of(cls, tokens: Tokens, tile: int) -> _Extent:
        segments, positions = (x.reshape(x.shape[0], -1, tile) for x in tokens)
        real, top = segments != 0, jnp.iinfo(jnp.int32).max
        first, last = jnp.where(real, segments, top).min(-1), jnp.where(real, segments, -1).max(-1)
        at_first, at_last = segments == first[..., None], segments == last[..., None]
        return cls(
            first=first,
            last=last,
            first_position=jnp.where(at_first, positions, top).min(-1),
            last_position=jnp.where(at_last, positions, -1).max(-1),
            lowest=positions.min(-1),
            highest=positions.max(-1),
            whole=real.all(-1),
        )


def _span(marked: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the first and one past the last true index on the last axis; 0 and 0 if none is true."""
    places = lax.broadcasted_iota(jnp.int32, marked.shape, marked.ndim - 1)
    stop = jnp.where(marked, places + 1, 0).max(-1)
    return jnp.where(marked, places, stop[..., None]).min(-1), stop
