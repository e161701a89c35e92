from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.model.llama.matrices import Pairs, columns, times


def _arrays(inputs: int, rows: int) -> tuple[np.ndarray, jax.Array]:
    rng = np.random.default_rng(inputs)
    return rng.normal(size=(rows, inputs)).astype(np.float32), jnp.asarray(rng.normal(size=(inputs, 24)), jnp.float32)


@pytest.mark.parametrize("rows", [1, 3, 4])
@pytest.mark.parametrize("inputs", [10, 11])
def test_a_product_with_pairs_is_that_with_the_rounded_matrix_in_float32(inputs: int, rows: int) -> None:
    x, matrix = _arrays(inputs, rows)
    made = jax.jit(times)(x, Pairs.of(matrix))
    assert made.dtype == jnp.float32
    expected = x.astype(np.float64) @ np.asarray(matrix.astype(jnp.bfloat16), np.float64)
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize("inputs", [10, 11])
def test_columns_of_pairs_are_those_of_the_rounded_matrix(inputs: int) -> None:
    _, matrix = _arrays(inputs, 1)
    ids = jnp.asarray([[3, 0], [23, 3]])
    expected = np.asarray(matrix.astype(jnp.bfloat16).astype(jnp.float32)).T[np.asarray(ids)]
    np.testing.assert_array_equal(columns(Pairs.of(matrix), ids), expected)
    np.testing.assert_array_equal(columns(matrix, ids), np.asarray(matrix).T[np.asarray(ids)])


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 4])
def test_matrices_are_not_kept_in_float32_while_tokens_are_generated(rows: int) -> None:
    matrices = [Pairs.of(jnp.ones((256, 256))) for _ in range(20)]

    def token(_: jax.Array, x: jax.Array) -> jax.Array:
        for matrix in matrices:
            x = times(x, matrix)
        return x

    compiled = jax.jit(lambda x: jax.lax.fori_loop(0, 3, token, x)).lower(jnp.ones((rows, 256))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * 256 * 256 * 4
