from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.run.rounding import narrowed, stochastic_round, widened


@pytest.mark.slow
def test_stochastic_rounding_gives_a_neighbor_and_the_right_mean() -> None:
    x = jnp.full(20_000, 1 + 0.3 / 128, jnp.float32)  # 30 % of the way from 1 to its neighbor 1 + 1/128
    rounded = np.asarray(stochastic_round(x, jax.random.key(0)), np.float32)
    assert set(rounded.tolist()) == {1.0, 1 + 1 / 128}
    assert abs((rounded > 1).mean() - 0.3) < 0.015
    negative = np.asarray(stochastic_round(-x, jax.random.key(0)), np.float32)
    assert abs((negative < -1).mean() - 0.3) < 0.015


@pytest.mark.slow
def test_values_that_bfloat16_has_and_special_values_stay() -> None:
    exact = jnp.array([0.0, -0.0, 1.0, -2.5, 2.0**-126, np.inf, -np.inf], jnp.float32)
    rounded = stochastic_round(exact, jax.random.key(1))
    assert rounded.dtype == jnp.bfloat16
    assert np.array_equal(np.asarray(rounded, np.float32), exact)
    assert np.isnan(np.asarray(stochastic_round(jnp.array([np.nan, -np.nan]), jax.random.key(1)), np.float32)).all()


@pytest.mark.slow
def test_small_updates_are_not_lost() -> None:
    value = jnp.ones(4096, jnp.bfloat16)
    for step in range(100):
        value = stochastic_round(value.astype(jnp.float32) + 1e-4, jax.random.key(step))
    assert abs(float(value.astype(jnp.float32).mean()) - 1.01) < 1e-3
    assert float(jnp.bfloat16(1) + jnp.bfloat16(1e-4)) == 1.0  # rounding to the nearest loses every one


@pytest.mark.slow
def test_only_leaves_of_another_type_are_rounded() -> None:
    like = {"a": jnp.zeros(3, jnp.bfloat16), "b": jnp.zeros(3, jnp.float32), "n": jnp.int32(0)}
    tree = widened(like)
    assert {name: x.dtype.name for name, x in tree.items()} == {"a": "float32", "b": "float32", "n": "int32"}
    back = narrowed(tree, like=like, key=jax.random.key(0))
    assert {name: x.dtype.name for name, x in back.items()} == {"a": "bfloat16", "b": "float32", "n": "int32"}
