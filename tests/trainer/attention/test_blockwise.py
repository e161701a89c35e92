from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.training.float64_attention import float64_attention
from tests.support.training.packed_sequences import Packed, packed
from trainer.attention import blockwise
from trainer.attention.blockwise import NOTHING
from trainer.attention.protocol import Keys, Output, QKVGrads, Queries, Residuals
from trainer.attention.tiles import Tokens

ROWS, LENGTH, KV_HEADS, GROUPS, HEAD_DIM, TILE = 2, 32, 2, 2, 8, 8
Arrays = tuple[NDArray[np.float32], ...]


@pytest.fixture
def rows() -> Packed:
    return packed(np.random.default_rng(0), rows=ROWS, length=LENGTH, longest=14)


@pytest.fixture
def arrays() -> Arrays:
    """q, k, v and the gradient of the output, in the kernels' layout [B,K,G,S,H] and [B,K,T,H]."""
    rng = np.random.default_rng(1)
    q = (ROWS, KV_HEADS, GROUPS, LENGTH, HEAD_DIM)
    k = (ROWS, KV_HEADS, LENGTH, HEAD_DIM)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in (q, k, k, q))


def _inputs(arrays: Arrays, rows: Packed) -> tuple[Queries, Keys]:
    q, k, v, _ = map(jnp.asarray, arrays)
    tokens = Tokens(jnp.asarray(rows.segment_ids), jnp.asarray(rows.positions))
    return Queries(q, tokens), Keys(k, v, tokens)


def _expected(arrays: Arrays, rows: Packed) -> tuple[NDArray[np.float64], ...]:
    """Output, dQ, dK and dV from the definition, in the kernels' layout."""
    q, k, v, d_out = arrays
    heads_last = [np.einsum("bkgsh->bskgh", x).reshape(ROWS, LENGTH, -1, HEAD_DIM) for x in (q, d_out)]
    keys_last = [np.einsum("bksh->bskh", x) for x in (k, v)]
    out, d_q, d_k, d_v = float64_attention(heads_last[0], *keys_last, heads_last[1], rows)
    by_group = [np.einsum("bskgh->bkgsh", x.reshape(ROWS, LENGTH, KV_HEADS, GROUPS, HEAD_DIM)) for x in (out, d_q)]
    return *by_group, *(np.einsum("bskh->bksh", x) for x in (d_k, d_v))


@partial(jax.jit, static_argnames="key_ranges")
def _forward(queries: Queries, keys: Keys, key_ranges: int = 1) -> Output:
    return blockwise.forward(queries, keys, tile=TILE, key_ranges=key_ranges)


@jax.jit
def _backward(queries: Queries, keys: Keys, saved: Residuals) -> QKVGrads:
    return blockwise.backward(queries, keys, saved, tile=TILE)


@pytest.mark.slow
@pytest.mark.parametrize("key_ranges", [1, 2])
def test_forward_is_attention_for_any_number_of_key_ranges(arrays: Arrays, rows: Packed, key_ranges: int) -> None:
    made = _forward(*_inputs(arrays, rows), key_ranges=key_ranges)
    np.testing.assert_allclose(made.out, _expected(arrays, rows)[0], atol=1e-5)


def test_a_row_that_sees_no_key_is_zero_and_has_the_log_sum_exp_nothing(arrays: Arrays, rows: Packed) -> None:
    made = _forward(*_inputs(arrays, rows))
    blind = np.broadcast_to((rows.segment_ids == 0)[:, None, None], made.lse.shape)
    assert blind.any()
    assert np.all(np.asarray(made.out)[blind] == 0)
    assert np.all(np.asarray(made.lse)[blind] == np.float32(NOTHING))
    assert np.all(np.asarray(made.lse)[~blind] > -100)


@pytest.mark.slow
def test_backward_gives_the_gradients_from_the_global_log_sum_exp(arrays: Arrays, rows: Packed) -> None:
    inputs, d_out = _inputs(arrays, rows), jnp.asarray(arrays[3])
    out, lse = _forward(*inputs)
    saved = Residuals(d_out, jnp.where(lse > NOTHING, lse, 0.0), jnp.sum(d_out * out, axis=-1))
    made = _backward(*inputs, saved)
    for name, a, b in zip(("dQ", "dK", "dV"), made, _expected(arrays, rows)[1:], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, err_msg=name)
