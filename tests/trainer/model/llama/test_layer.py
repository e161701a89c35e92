from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.model.llama.config import debug, small
from trainer.model.llama.layer import gathered, layer_weights, over_chunks, rms_norm, table_weight


def test_rms_norm_divides_by_the_root_mean_square_and_multiplies_by_the_scale() -> None:
    rng = np.random.default_rng(0)
    x, scale = rng.normal(size=(2, 5, 16)).astype(np.float32) * 30, rng.normal(size=16).astype(np.float32)
    expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True)) * scale
    np.testing.assert_allclose(rms_norm(jnp.asarray(x), jnp.asarray(scale), eps=1e-5), expected, rtol=1e-5)


@pytest.mark.slow
def test_rms_norm_computes_in_float32_and_returns_the_dtype_of_its_input() -> None:
    x = jnp.full((1, 4096), 300.0, jnp.bfloat16)
    made = rms_norm(x, jnp.ones(4096), eps=1e-5)
    assert made.dtype == jnp.bfloat16
    np.testing.assert_array_equal(made.astype(jnp.float32), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 3, 7, 10, 64])
def test_chunks_of_any_size_give_the_result_of_the_whole(chunk: int) -> None:
    rows = (jnp.arange(20.0).reshape(10, 2), jnp.arange(10, dtype=jnp.int32))
    seen: list[int] = []

    def one(x: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen.append(len(n))
        return x * 2, n + 1

    doubled, counted = over_chunks(one, rows, chunk)
    assert max(seen) <= chunk
    np.testing.assert_array_equal(doubled, rows[0] * 2)
    np.testing.assert_array_equal(counted, rows[1] + 1)


@pytest.mark.slow
def test_initial_standard_deviations_follow_the_number_of_inputs_and_the_depth() -> None:
    config, key = small(), jax.random.key(0)
    declared = {**layer_weights(config), "table": table_weight(1000, config.dim)}
    weights = jax.jit(lambda: {name: w.init(key, w.shape) for name, w in declared.items()})()
    into, depth = 1 / math.sqrt(config.dim), math.sqrt(2 * config.layers)
    for name in ("query", "key", "value", "gate", "up", "table"):
        assert float(weights[name].std()) == pytest.approx(into, rel=0.05)
    joined = config.heads * config.head_dim
    assert float(weights["output"].std()) == pytest.approx(1 / math.sqrt(joined) / depth, rel=0.05)
    assert float(weights["down"].std()) == pytest.approx(1 / math.sqrt(config.ff_dim) / depth, rel=0.05)
    np.testing.assert_array_equal(weights["attention_norm"], 1.0)


@pytest.mark.slow
def test_gathered_weights_have_values_of_the_compute_dtype() -> None:
    config = dataclasses.replace(debug(), dtype="bfloat16")
    stored = {name: jnp.full(w.shape, 1.001) for name, w in layer_weights(config).items()}
    made = gathered(stored, config, None)
    assert {name: w.shape for name, w in made.items()} == {name: w.shape for name, w in stored.items()}
    assert all((w == jnp.float32(jnp.bfloat16(1.001))).all() for w in made.values())
