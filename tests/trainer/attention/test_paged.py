from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from trainer.attention.paged import Pages, PageView, empty_pages, extend_pages
from trainer.attention.reference import dense_attention
from trainer.config import MeshConfig
from trainer.mesh import make_mesh

pytestmark = pytest.mark.slow

ROWS, LENGTH, PAGE, HEADS, KV_HEADS, DIM = 2, 24, 4, 4, 2, 4
LENGTHS = (LENGTH, 13)  # of the rows


@lru_cache
def _mesh(devices: int) -> Mesh | None:
    return make_mesh(MeshConfig(sequence=devices), devices=jax.devices()[:devices]) if devices > 1 else None


def _tables(devices: int) -> jax.Array:
    """Pages in random places, other ones on every device."""
    each = LENGTH // PAGE // devices
    orders = [np.random.default_rng(n).permutation(ROWS * each).reshape(ROWS, each) for n in range(devices)]
    return jnp.asarray(np.stack(orders), jnp.int32)


@lru_cache
def _inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(ROWS, LENGTH, n, DIM)).astype(np.float32) for n in (HEADS, KV_HEADS, KV_HEADS)]


def _expected() -> np.ndarray:
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1))
    return np.asarray(dense_attention(*map(jnp.asarray, _inputs()), np.ones_like(positions), positions))


def _block(part: slice) -> tuple[Any, ...]:
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1))
    positions[positions >= np.asarray(LENGTHS)[:, None]] = -1
    return tuple(jnp.asarray(x[:, part]) for x in (*_inputs(), positions))


@pytest.mark.parametrize("devices", [1, 2])
def test_blocks_of_rows_of_other_lengths_attend_to_all_tokens_before_them(devices: int) -> None:
    mesh, tables = _mesh(devices), _tables(devices)
    sizes = {"layers": 2, "kv_heads": KV_HEADS, "page": PAGE, "head_dim": DIM}
    pages: Pages = empty_pages(pages=ROWS * LENGTH // PAGE, dtype="float32", mesh=mesh, **sizes)
    run = jax.jit(partial(extend_pages, mesh=mesh, split=True))
    for part in (slice(0, 8), slice(8, 16), slice(16, 24)):
        q, k, v, positions = _block(part)
        pages, made = run(pages, 1, q, k, v, PageView(tables, positions))
        known = np.asarray(positions) >= 0
        np.testing.assert_allclose(np.asarray(made)[known], _expected()[:, part][known], atol=1e-6)
        assert np.all(np.asarray(made)[~known] == 0)
    assert not np.asarray(pages.k[0]).any()  # the other layer
    q, k, v, positions = _block(slice(12, 13))  # one token, which all devices have
    one = partial(extend_pages, mesh=mesh, split=False)
    _, made = jax.jit(one)(pages, 1, q, k, v, PageView(tables, positions))
    np.testing.assert_allclose(np.asarray(made), _expected()[:, 12:13], atol=1e-6)


def test_pages_in_bfloat16_hold_rounded_numbers_and_are_written_without_a_copy() -> None:
    q, k, v = (jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32) for x in _inputs())
    positions = jnp.tile(jnp.arange(LENGTH, dtype=jnp.int32), (ROWS, 1))
    made, temporary = {}, {}
    for dtype in ("float32", "bfloat16"):
        pages = empty_pages(layers=2, pages=512, kv_heads=KV_HEADS, page=PAGE, head_dim=DIM, dtype=dtype, mesh=_mesh(1))
        step = jax.jit(partial(extend_pages, mesh=None, split=False), donate_argnums=0)
        program = step.lower(pages, 1, q, k, v, PageView(_tables(1), positions)).compile()
        temporary[dtype] = program.memory_analysis().temp_size_in_bytes
        assert temporary[dtype] < pages.k.nbytes
        made[dtype] = program(pages, 1, q, k, v, PageView(_tables(1), positions))[1]
    np.testing.assert_array_equal(made["bfloat16"], made["float32"])
