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
from numpy.typing import NDArray

from schemas.errors import ConfigError
from tests.support.training.float64_attention import float64_attention
from tests.support.training.packed_sequences import Packed, packed, random_order
from trainer.attention.context_parallel import attention
from trainer.attention.kernel import KernelName
from trainer.config import AttentionMethod, MeshConfig
from trainer.data.layout import LAYOUTS, permutation
from trainer.mesh import make_mesh

pytestmark = pytest.mark.slow

HEAD_DIM, ROWS, TILE = 8, 2, 4
NAMES = ("out", "dQ", "dK", "dV")
Arrays = tuple[jax.Array, ...]

# (devices, method, query heads, key/value heads, tokens a device): each is compiled once, and serves every packing.
Case = tuple[int, AttentionMethod, int, int, int]
CASES: tuple[Case, ...] = (
    (1, "ring", 4, 2, 37),  # no multiple of the tile
    (2, "ulysses", 4, 2, 32),
    (3, "ring", 6, 3, 16),
    (4, "all_gather", 4, 1, 16),
    (5, "all_gather", 3, 3, 8),
    (6, "all_gather", 2, 1, 10),  # tiles of 4 do not divide it
    (7, "all_gather", 2, 2, 8),
    (8, "ring", 4, 2, 12),
)
RING = CASES[-1]
LENGTH = RING[0] * RING[4]


def _mesh(**sizes: int) -> Mesh:
    count = int(np.prod(list(sizes.values())))
    return make_mesh(MeshConfig(**sizes), devices=jax.devices()[:count])


def _inputs(rng: np.random.Generator, case: Case = RING, rows: int = ROWS) -> Arrays:
    """Return q, k, v and the gradient that comes from above."""
    devices, _, heads, kv_heads, share = case
    shapes = ((rows, devices * share, n, HEAD_DIM) for n in (heads, kv_heads, kv_heads, heads))
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


def _all(attend: Callable[..., jax.Array], q, k, v, d_out, segment_ids, positions) -> Arrays:
    """Return the output and all three gradients."""
    out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, segment_ids, positions), q, k, v)
    return out, *pull(d_out.astype(out.dtype))


@lru_cache(maxsize=32)
def _compiled(
    mesh: Mesh | None, method: AttentionMethod, tile: int = TILE, kernel: KernelName | None = None
) -> Callable[..., Arrays]:
    attend = partial(attention, mesh=mesh, method=method, tile=tile, kernel=kernel)
    return jax.jit(partial(_all, attend))


def _of(case: Case) -> Callable[..., Arrays]:
    return _compiled(_mesh(sequence=case[0]), case[1])


def _errors(made: Arrays, expected: tuple[NDArray, ...]) -> list[float]:
    """Return the largest error of each, relative to the largest value it should have, or to 0.1 where all cancel."""
    pairs = zip(made, expected, strict=True)
    return [float(np.abs(np.asarray(a, np.float64) - b).max() / max(np.abs(b).max(), 0.1)) for a, b in pairs]


def _check(run: Callable[..., Arrays], arrays: Arrays, rows: Packed) -> None:
    made = run(*arrays, rows.segment_ids, rows.positions)
    errors = _errors(made, float64_attention(*arrays, rows))
    for name, error, limit in zip(NAMES, errors, (1e-5, 1e-4, 1e-4, 1e-4), strict=True):
        assert error <= limit, f"{name} is off by {error:.1e} of its largest value"
    for a in made:
        assert np.all(np.asarray(a)[rows.segment_ids == 0] == 0)


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.campaign if c[0] in (3, 5, 7) else ()) for c in CASES], ids=str
)
def test_every_strategy_equals_dense_attention_for_any_packing_and_layout(case: Case) -> None:
    devices, _, _, _, share = case
    length = devices * share

    @settings(deadline=None, max_examples=12)
    @given(
        seed=st.integers(0, 1 << 30), longest=st.integers(1, length), layout=st.sampled_from([*LAYOUTS, "any order"])
    )
    def check(seed: int, longest: int, layout: str) -> None:
        rng = np.random.default_rng(seed)
        if layout == "any order":
            order = random_order(rng, length)
        elif layout == "zigzag" and share % 2:
            return
        else:
            order = permutation(layout, length=length, devices=devices, stripe=TILE if share % TILE == 0 else share)
        rows = packed(rng, rows=ROWS, length=length, longest=longest).permuted(order)
        _check(_of(case), _inputs(rng, case), rows)

    check()


def test_rows_and_heads_can_be_split() -> None:
    rng = np.random.default_rng(1)
    rows = packed(rng, rows=2, length=32, longest=20)
    case = (1, "ring", 4, 2, 32)
    _check(_compiled(_mesh(data=1, fsdp=2, tensor=2, sequence=2), "ring"), _inputs(rng, case), rows)


def test_one_compilation_works_for_all_packings() -> None:
    rng, run = np.random.default_rng(2), _compiled(_mesh(sequence=8), "ring")
    for longest in (1, 5, LENGTH):
        rows = packed(rng, rows=ROWS, length=LENGTH, longest=longest)
        jax.block_until_ready(run(*_inputs(rng), rows.segment_ids, rows.positions))
    assert run._cache_size() == 1


def test_documents_of_one_token_attend_only_to_themselves() -> None:
    rng = np.random.default_rng(3)
    q, k, v, d_out = _inputs(rng)
    ids = np.broadcast_to(np.arange(1, LENGTH + 1, dtype=np.int32), (ROWS, LENGTH))
    out, d_q, d_k, d_v = _of(RING)(q, k, v, d_out, ids, np.zeros_like(ids))
    np.testing.assert_array_equal(out, jnp.repeat(v, 2, axis=2))  # a softmax over one score is 1
    np.testing.assert_allclose(d_v, d_out.reshape(ROWS, LENGTH, 2, 2, HEAD_DIM).sum(3), rtol=1e-6)
    assert float(jnp.abs(d_q).max()) < 1e-5
    assert float(jnp.abs(d_k).max()) < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_document_may_start_or_end_at_or_next_to_any_tile_boundary(layout: str) -> None:
    rng = np.random.default_rng(4)
    edges = np.arange(TILE, LENGTH, TILE)
    order = permutation(layout, length=LENGTH, devices=8, stripe=TILE)
    for shift in (-1, 0, 1):
        for edge in edges[::3]:  # two documents a row; the second row has a third one, and padding
            starts = np.array([0, edge + shift])
            segments = np.stack([np.searchsorted(starts, np.arange(LENGTH), side="right")] * 2).astype(np.int32)
            positions = (np.arange(LENGTH) - starts[segments - 1]).astype(np.int32)
            segments[1, -5:] = 0
            positions[1, -5:] = 0
            _check(_of(RING), _inputs(rng), Packed(positions, segments, positions).permuted(order))
    lengths = np.full(len(edges) + 1, TILE)  # and every tile a document
    segments = np.repeat(np.arange(1, len(lengths) + 1, dtype=np.int32), lengths)[None].repeat(ROWS, 0)
    positions = np.tile(np.arange(TILE, dtype=np.int32), len(lengths))[None].repeat(ROWS, 0)
    _check(_of(RING), _inputs(rng), Packed(positions, segments, positions).permuted(order))


def test_padding_gives_exactly_zero_output_and_gradient() -> None:
    rng = np.random.default_rng(5)
    for case in (RING, (4, "all_gather", 4, 1, 16), (2, "ulysses", 4, 2, 32)):
        share, length = case[4], case[0] * case[4]
        rows = packed(rng, rows=ROWS, length=length, longest=30)
        rows.segment_ids[0] = 0  # a row of nothing but padding
        rows.segment_ids[1, share : 2 * share] = 0  # a whole device of it, in the midst of documents
        _check(_of(case), _inputs(rng, case), rows)


def test_large_scores_do_not_overflow() -> None:
    rng = np.random.default_rng(6)
    q, k, v, d_out = _inputs(rng)
    rows = packed(rng, rows=ROWS, length=LENGTH, longest=60)
    made = _of(RING)(q * 300, k, v, d_out, rows.segment_ids, rows.positions)
    errors = _errors(made, float64_attention(q * 300, k, v, d_out, rows))
    assert max(errors) < 1e-3  # scores of 1000 are themselves known to 1e-4


# The fused kernel rounds weights and their gradients to bfloat16 before each product, as tensor cores want them.
@pytest.mark.parametrize(("kernel", "devices", "limit"), [("blockwise", 8, 1.05), ("interpreted", 1, 1.5)])
def test_bfloat16_is_no_worse_than_dense_bfloat16(kernel: KernelName, devices: int, limit: float) -> None:
    case = (devices, "ring", 2, 1, 64)
    rng = np.random.default_rng(7)
    rows = packed(rng, rows=1, length=devices * 64, longest=devices * 64)
    arrays = tuple(x.astype(jnp.bfloat16) for x in _inputs(rng, case, rows=1))
    ids = rows.segment_ids, rows.positions
    mesh = _mesh(sequence=devices) if devices > 1 else None
    made = _compiled(mesh, "ring", 16, kernel)(*arrays, *ids)
    assert all(x.dtype == jnp.bfloat16 for x in made)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # which JAX's own attention needs
        dense = jax.jit(partial(_all, _dense_bfloat16))(*arrays, *ids)
    expected = float64_attention(*(np.asarray(x, np.float32) for x in arrays), rows)
    for name, a, b, c in zip(NAMES, made, dense, expected, strict=True):
        ours, theirs = (float(np.linalg.norm(np.asarray(x, np.float64) - c) / np.linalg.norm(c)) for x in (a, b))
        assert ours <= limit * theirs, f"{name}: {ours:.1e} against {theirs:.1e}"


def _dense_bfloat16(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, positions: jax.Array) -> jax.Array:
    """What a user would write: JAX's own attention with a mask."""
    same = (segments[:, None, :, None] == segments[:, None, None, :]) & (segments != 0)[:, None, :, None]
    mask = same & (positions[:, None, None, :] <= positions[:, None, :, None])
    out = jax.nn.dot_product_attention(q, k, v, mask=mask)
    return jnp.where((segments != 0)[..., None, None], out, jnp.zeros_like(out))


def test_documents_do_not_affect_each_other_and_results_are_deterministic() -> None:
    rng = np.random.default_rng(8)
    rows = packed(rng, rows=ROWS, length=LENGTH, longest=25).permuted(random_order(rng, LENGTH))
    arrays, other = _inputs(rng), _inputs(rng)
    changed = (rows.segment_ids == 2)[..., None, None]
    mixed = [jnp.where(changed, b, a) for a, b in zip(arrays, other, strict=True)]
    before, again, after = (_of(RING)(*x, rows.segment_ids, rows.positions) for x in (arrays, arrays, mixed))
    for a, b, c in zip(before, again, after, strict=True):
        assert np.array_equal(a, b)
        same, differs = (np.asarray(a)[x] for x in (rows.segment_ids != 2, rows.segment_ids == 2))
        assert np.array_equal(same, np.asarray(c)[rows.segment_ids != 2])
        assert not np.array_equal(differs, np.asarray(c)[rows.segment_ids == 2])


@pytest.mark.parametrize(
    ("shape", "kv_heads", "message"),
    [
        ((1, 64, 4), 2, "batch_size = 1 cannot be split evenly over data x fsdp = 2 devices: take 2$"),
        (
            (2, 31, 4),
            2,
            "31 tokens .* 2 devices .*: the nearest context has 30 tokens, the nearest sequence axis is 1",
        ),
        ((2, 64, 3), 1, "tensor = 2 does not divide the model's heads = 3, kv_heads = 1: take tensor = 1"),
        ((2, 64, 3), 2, "3 query heads cannot share 2 key/value heads evenly: the nearest .* is 1"),
    ],
)
def test_sizes_that_the_mesh_does_not_divide_are_rejected(shape: tuple[int, ...], kv_heads: int, message: str) -> None:
    rows, length, heads = shape
    _assert_rejected(rows, length, heads, kv_heads, _mesh(data=2, tensor=2, sequence=2), "ring", message)


def _assert_rejected(
    rows: int, length: int, heads: int, kv_heads: int, mesh: Mesh, method: AttentionMethod, message: str
) -> None:
    q, k = (jnp.ones((rows, length, n, HEAD_DIM)) for n in (heads, kv_heads))
    ids = jnp.ones((rows, length), jnp.int32)
    with pytest.raises(ConfigError, match=message):
        attention(q, k, k, ids, ids, mesh=mesh, tile=8, method=method)
