from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.model.llama.rope import rotate, rotation

THETA, HEAD_DIM, LONGEST = 5e7, 128, 1 << 20


def _angles(positions: NDArray[np.int64]) -> NDArray[np.float64]:
    frequencies = THETA ** (-np.arange(0, HEAD_DIM, 2, dtype=np.float64) / HEAD_DIM)
    return np.outer(positions, frequencies)


def _rotation(positions: NDArray[np.int64]):
    return rotation(jnp.asarray(positions, jnp.int32)[None], head_dim=HEAD_DIM, theta=THETA, max_positions=LONGEST)


@pytest.mark.slow
def test_angles_are_accurate_up_to_a_million_positions() -> None:
    rng = np.random.default_rng(0)
    positions = np.concatenate([np.arange(2050), rng.integers(0, LONGEST, 2000), [LONGEST - 1]])
    made, angles = _rotation(positions), _angles(positions)
    np.testing.assert_allclose(made.cos[0], np.cos(angles), atol=3e-7)
    np.testing.assert_allclose(made.sin[0], np.sin(angles), atol=3e-7)


def test_a_position_beyond_the_table_gives_nan() -> None:
    made = _rotation(np.array([LONGEST - 1, LONGEST, 2 * LONGEST]))
    assert np.isnan(made.cos[0]).any(axis=1).tolist() == [False, True, True]


@pytest.mark.slow
def test_rotation_equals_multiplication_by_a_rotation_matrix() -> None:
    x = np.random.default_rng(1).normal(size=(1, 1, 1, HEAD_DIM))
    turned = rotate(jnp.asarray(x, jnp.float32), _rotation(np.array([987_654])))[0, 0, 0]
    angles = _angles(np.array([987_654]))[0]
    left, right = np.split(x[0, 0, 0], 2)
    expected = np.concatenate(
        [left * np.cos(angles) - right * np.sin(angles), right * np.cos(angles) + left * np.sin(angles)]
    )
    np.testing.assert_allclose(turned, expected, atol=2e-6)


@pytest.mark.parametrize("start", [0, 1023, 40_000, LONGEST - 101])
def test_dot_products_depend_only_on_the_distance(start: int) -> None:
    rng = np.random.default_rng(2)
    q, k = (jnp.asarray(rng.normal(size=(1, 1, 1, HEAD_DIM)), jnp.float32) for _ in range(2))

    def product(first: int, second: int) -> jax.Array:
        return jnp.vdot(rotate(q, _rotation(np.array([first]))), rotate(k, _rotation(np.array([second]))))

    np.testing.assert_allclose(product(start + 100, start), product(100, 0), atol=5e-5)


def test_the_dtype_of_the_input_is_kept() -> None:
    x = jnp.ones((1, 1, 2, HEAD_DIM), jnp.bfloat16)
    assert rotate(x, _rotation(np.array([3]))).dtype == jnp.bfloat16
