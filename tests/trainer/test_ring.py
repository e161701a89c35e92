from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh

from schemas.errors import ConfigError
from tests.trainer.sequences import COMPILED_QUICKLY, Packed, no_order, packed
from trainer.attention import dense_attention
from trainer.blockwise import Cut, live_pairs
from trainer.config import MeshConfig
from trainer.layout import permutation
from trainer.mesh import make_mesh
from trainer.ring import ring_attention

HEAD_DIM = 8
LENGTH, TILE = 96, 6  # what most tests use, so that it is compiled once
Arrays = tuple[jax.Array, ...]


def _mesh(**sizes: int) -> Mesh:
    count = int(np.prod(list(sizes.values())))
    return make_mesh(MeshConfig(**sizes), devices=jax.devices()[:count])


def _inputs(
    rng: np.random.Generator, *, rows: int = 2, length: int = LENGTH, heads: int = 4, kv_heads: int = 2
) -> Arrays:
    """Return q, k, v and the gradient that comes from above."""
    shapes = ((rows, length, n, HEAD_DIM) for n in (heads, kv_heads, kv_heads, heads))
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


@lru_cache(maxsize=32)
def _ring(mesh: Mesh | None, tile: int) -> Callable[..., Arrays]:
    return jax.jit(partial(_all, partial(ring_attention, mesh=mesh, tile=tile)), compiler_options=COMPILED_QUICKLY)


def _all(attention: Callable[..., jax.Array], q, k, v, d_out, segment_ids, positions) -> Arrays:
    """Return the output and all three gradients."""
    out, pull = jax.vjp(lambda q, k, v: attention(q, k, v, segment_ids, positions), q, k, v)
    return out, *pull(d_out.astype(out.dtype))


_dense = jax.jit(partial(_all, dense_attention), compiler_options=COMPILED_QUICKLY)


def _check(mesh: Mesh | None, tile: int, arrays: Arrays, rows: Packed, *, tolerance: float = 5e-6) -> None:
    made = _ring(mesh, tile)(*arrays, rows.segment_ids, rows.positions)
    exact = [x.astype(jnp.float32) for x in arrays]
    expected = _dense(*exact, rows.segment_ids, rows.positions)
    for name, a, b in zip(("out", "dQ", "dK", "dV"), made, expected, strict=True):
        assert a.dtype == arrays[0].dtype
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("layout", ["contiguous", "block_cyclic", "random"])
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_output_and_gradients_are_those_of_dense_attention(devices: int, layout: str) -> None:
    rng = np.random.default_rng(devices)
    if layout == "random":
        order = no_order(rng, LENGTH)
    else:
        order = permutation(layout, length=LENGTH, devices=devices, stripe=TILE)
    rows = packed(rng, rows=2, length=LENGTH, longest=60).permuted(order)
    _check(_mesh(sequence=devices), TILE, _inputs(rng), rows)


@pytest.mark.parametrize("heads", [(4, 1), (6, 3)])
def test_any_number_of_query_heads_shares_a_key_head(heads: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    rows = packed(rng, rows=1, length=48, longest=48)
    arrays = _inputs(rng, rows=1, length=48, heads=heads[0], kv_heads=heads[1])
    _check(_mesh(sequence=4), 4, arrays, rows)


@pytest.mark.parametrize("sizes", [{"data": 2, "sequence": 4}, {"data": 2, "fsdp": 2, "tensor": 2, "sequence": 1}])
def test_rows_and_heads_are_split_too(sizes: dict[str, int]) -> None:
    rng = np.random.default_rng(1)
    rows = packed(rng, rows=4, length=32, longest=20)
    _check(_mesh(**sizes), 8, _inputs(rng, rows=4, length=32, heads=4, kv_heads=2), rows)


@pytest.mark.parametrize(("length", "tile"), [(1, 8), (37, 5)])
def test_any_length_is_cut_into_tiles(length: int, tile: int) -> None:
    rng = np.random.default_rng(length)
    rows = packed(rng, rows=2, length=length, longest=length)
    _check(None, tile, _inputs(rng, rows=2, length=length, heads=4, kv_heads=2), rows)


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 1 << 30), longest=st.integers(1, LENGTH), sequence=st.sampled_from([1, 4]))
def test_random_packings_in_random_order_agree_with_dense_attention(seed: int, longest: int, sequence: int) -> None:
    rng = np.random.default_rng(seed)
    rows = packed(rng, rows=2, length=LENGTH, longest=longest).permuted(no_order(rng, LENGTH))
    _check(_mesh(sequence=sequence), TILE, _inputs(rng), rows)


def test_bfloat16_is_accumulated_in_float32() -> None:
    rng = np.random.default_rng(3)
    rows = packed(rng, rows=1, length=512, longest=512)
    arrays = [x.astype(jnp.bfloat16) for x in _inputs(rng, rows=1, length=512, heads=2, kv_heads=1)]
    _check(_mesh(sequence=8), 16, tuple(arrays), rows, tolerance=0.06)
    # Sums of 500 values kept in bfloat16 would be off by more than the rounding of the result, 2^-9 of it.
    out = _ring(_mesh(sequence=8), 16)(*arrays, rows.segment_ids, rows.positions)[0].astype(jnp.float32)
    exact = _dense(*(x.astype(jnp.float32) for x in arrays), rows.segment_ids, rows.positions)[0]
    assert float(jnp.linalg.norm(out - exact) / jnp.linalg.norm(exact)) < 4e-3


def test_large_scores_do_not_overflow() -> None:
    rng = np.random.default_rng(4)
    q, k, v, d_out = _inputs(rng)
    rows = packed(rng, rows=2, length=LENGTH, longest=60)
    _check(_mesh(sequence=4), TILE, (q * 300, k, v, d_out), rows, tolerance=2e-2)


def test_padding_gives_exactly_zero_and_takes_no_gradient() -> None:
    rng = np.random.default_rng(5)
    rows = packed(rng, rows=2, length=LENGTH, longest=30)
    rows.segment_ids[0] = 0  # a row of nothing but padding
    rows.segment_ids[1, 12:36] = 0  # two whole devices of it, in the midst of documents
    arrays = _inputs(rng)
    for devices in (1, 8):
        for made in _ring(_mesh(sequence=devices), TILE)(*arrays, rows.segment_ids, rows.positions):
            assert np.all(np.asarray(made)[rows.segment_ids == 0] == 0)
            assert np.any(np.asarray(made)[rows.segment_ids != 0] != 0)
    _check(_mesh(sequence=8), TILE, arrays, rows)


def test_one_document_never_changes_another() -> None:
    rng = np.random.default_rng(6)
    rows = packed(rng, rows=2, length=LENGTH, longest=25).permuted(no_order(rng, LENGTH))
    arrays, other = _inputs(rng), _inputs(rng)
    changed = (rows.segment_ids == 2)[..., None, None]
    mixed = [jnp.where(changed, b, a) for a, b in zip(arrays, other, strict=True)]
    run = _ring(_mesh(sequence=4), TILE)
    before, after = (run(*x, rows.segment_ids, rows.positions) for x in (arrays, mixed))
    for a, b in zip(before, after, strict=True):
        same, differs = np.asarray(a)[rows.segment_ids != 2], np.asarray(a)[rows.segment_ids == 2]
        assert np.array_equal(same, np.asarray(b)[rows.segment_ids != 2])
        assert not np.array_equal(differs, np.asarray(b)[rows.segment_ids == 2])


def _live(rows: Packed, tile: int) -> set[tuple[int, int]]:
    batch, length = rows.segment_ids.shape
    cut = Cut(batch, length, tile, 1, 1, 1.0)
    tokens = cut.tokens(jnp.asarray(rows.segment_ids), jnp.asarray(rows.positions))
    pairs, count = live_pairs(tokens, tokens, cut)
    return {(int(i), int(j)) for i, j in np.asarray(pairs)[:, : int(count)].T}


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1 << 30))
def test_no_pair_of_tiles_that_can_meet_is_left_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = packed(rng, rows=2, length=32, longest=20).permuted(no_order(rng, 32))
    needed = set()
    for row in range(2):
        segments, positions = rows.segment_ids[row], rows.positions[row]
        seen = (segments[:, None] == segments) & (segments[:, None] != 0) & (positions <= positions[:, None])
        needed |= {(row * 8 + i // 4, row * 8 + j // 4) for i, j in zip(*np.nonzero(seen), strict=True)}
    assert needed <= _live(rows, 4)


def test_work_follows_the_squares_of_the_documents() -> None:
    def work(documents: int) -> int:
        n = 64 // documents
        positions = np.tile(np.arange(n, dtype=np.int32), documents)[None]
        segments = np.repeat(np.arange(1, documents + 1, dtype=np.int32), n)[None]
        return len(_live(Packed(positions, segments, positions), 4))

    assert work(1) == 16 * 17 // 2
    assert work(4) == 4 * (4 * 5 // 2)
    assert work(16) == 16


def test_padding_makes_no_work() -> None:
    zeros = np.zeros((2, 64), np.int32)
    assert not _live(Packed(zeros, zeros, zeros), 4)


@pytest.mark.parametrize(
    ("shape", "kv_heads", "message"),
    [((1, 64, 4), 2, "1 rows"), ((2, 31, 4), 2, "31 tokens"), ((2, 64, 3), 1, "1 k/v heads"), ((2, 64, 3), 2, "share")],
)
def test_what_the_mesh_does_not_divide_is_refused(shape: tuple[int, ...], kv_heads: int, message: str) -> None:
    rows, length, heads = shape
    q, k, v, _ = _inputs(np.random.default_rng(0), rows=rows, length=length, heads=heads, kv_heads=kv_heads)
    ids = jnp.ones((rows, length), jnp.int32)
    with pytest.raises(ConfigError, match=message):
        ring_attention(q, k, v, ids, ids, mesh=_mesh(data=2, tensor=2, sequence=2), tile=8)
