from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.training.packed_sequences import Packed, packed, random_order
from trainer.attention.tiles import Bounds, Tokens, bounds
from trainer.data.layout import LAYOUTS, permutation

LENGTH, TILE, DEVICES = 64, 4, 4
_compiled = jax.jit(bounds, static_argnames=("tile", "key_ranges"))


def _bounds(queries: Packed, keys: Packed, key_ranges: int = 1) -> Bounds:
    q, k = (Tokens(jnp.asarray(x.segment_ids), jnp.asarray(x.positions)) for x in (queries, keys))
    return Bounds(*map(np.asarray, _compiled(q, k, tile=TILE, key_ranges=key_ranges)))


def _sets(limits: Bounds, tiles: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pairs are visited, and which of them without a mask: bool [B,I,J]."""
    j = np.arange(tiles)
    start, stop, full_start, full_stop = (x[..., None] for x in limits)
    visited, full = (j >= start) & (j < stop), (j >= full_start) & (j < full_stop)
    return tuple(x.reshape(*x.shape[:2], -1) for x in (visited, full))


def _needed(queries: Packed, keys: Packed) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pairs in which some, and in which every, query sees a key, found by looking at all of them."""
    a, b = queries, keys
    seen = (a.segment_ids[:, :, None] == b.segment_ids[:, None]) & (a.segment_ids[:, :, None] != 0)
    seen &= b.positions[:, None] <= a.positions[:, :, None]
    tiles = seen.reshape(len(seen), seen.shape[1] // TILE, TILE, seen.shape[2] // TILE, TILE)
    return tiles.any((2, 4)), tiles.all((2, 4))


def _part(rows: Packed, device: int) -> Packed:
    share = LENGTH // DEVICES
    return Packed(*(x[:, device * share : (device + 1) * share] for x in rows))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 30), longest=st.integers(1, LENGTH))
def test_in_any_order_no_interacting_pair_is_skipped_and_none_is_wrongly_unmasked(seed: int, longest: int) -> None:
    rng = np.random.default_rng(seed)
    rows = packed(rng, rows=2, length=LENGTH, longest=longest).permuted(random_order(rng, LENGTH))
    visited, full = _sets(_bounds(rows, rows), LENGTH // TILE)
    some, every = _needed(rows, rows)
    assert not np.any(some & ~visited)
    assert not np.any(full & ~every)
    assert not np.any(full & ~visited)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1 << 30), longest=st.integers(1, LENGTH))
def test_in_every_layout_only_interacting_pairs_are_visited_with_as_few_masks_as_possible(
    layout: str, seed: int, longest: int
) -> None:
    rng = np.random.default_rng(seed)
    order = permutation(layout, length=LENGTH, devices=DEVICES, stripe=TILE)
    rows = packed(rng, rows=2, length=LENGTH, longest=longest).permuted(order)
    for device in range(DEVICES):
        queries = _part(rows, device)
        visited, full = _sets(_bounds(queries, rows, key_ranges=DEVICES), LENGTH // TILE // DEVICES)
        some, every = _needed(queries, rows)
        assert np.array_equal(visited, some)
        assert np.array_equal(full, every)


def test_work_is_proportional_to_the_squares_of_document_lengths() -> None:
    def work(documents: int) -> int:
        n = LENGTH // documents
        positions = np.tile(np.arange(n, dtype=np.int32), documents)[None]
        segments = np.repeat(np.arange(1, documents + 1, dtype=np.int32), n)[None]
        limits = _bounds(*[Packed(positions, segments, positions)] * 2)
        return int((limits.stop - limits.start).sum())

    assert work(1) == 16 * 17 // 2
    assert work(4) == 4 * (4 * 5 // 2)
    assert work(16) == 16


def test_padding_takes_no_work() -> None:
    zeros = np.zeros((2, LENGTH), np.int32)
    limits = _bounds(*[Packed(zeros, zeros, zeros)] * 2)
    assert np.all(limits.start == limits.stop)
