from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from schemas.errors import ConfigError
from trainer.config import MeshConfig
from trainer.mesh import Weight, make_mesh, shardings
from trainer.run.optimizer import OptimizerConfig, make_optimizer, schedule


def _params(value: float) -> Any:
    """A matrix and a stack of norms, all of one value."""

    class Model(nnx.Module):
        def __init__(self) -> None:
            def constant(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
                return jnp.full(shape, value, jnp.float32)

            key = jax.random.key(0)
            self.matrix = Weight(shape=(4, 4), dims=("embed", "ff"), init=constant).make(key)
            norm = Weight(shape=(4,), dims=("model",), init=constant, decayed=False)
            self.norm = norm.stacked(2).make(key)

    return nnx.state(Model())


def _updates(config: OptimizerConfig, gradients: list[Any]) -> dict[str, np.ndarray]:
    """The parameters after these gradients, from 1."""
    params = _params(1.0)
    optimizer = make_optimizer(config, steps=100)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = jax.jit(optimizer.update)(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return {name: np.asarray(params[name][...]) for name in ("matrix", "norm")}


def test_the_learning_rate_warms_up_and_decays_along_half_a_cosine() -> None:
    rate = schedule(OptimizerConfig(learning_rate=2.0, warmup_steps=4, final_fraction=0.1), steps=24)
    values = [float(rate(step)) for step in range(30)]
    assert values[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert values[14] == pytest.approx(1.1)  # half way: the mean of peak and end
    assert values[24:] == pytest.approx([0.2] * 6)
    assert all(a >= b for a, b in itertools.pairwise(values[4:]))


@pytest.mark.parametrize(
    ("name", "later", "end"),
    [("constant", 2.0, 2.0), ("linear", 1.1, 0.2), ("cosine", 1.1, 0.2), ("wsd", 2.0, 0.2)],
)
def test_each_schedule_starts_at_the_peak_and_ends_at_its_final_rate(name: Any, later: float, end: float) -> None:
    config = OptimizerConfig(learning_rate=2.0, schedule=name, warmup_steps=4, final_fraction=0.1)
    values = [float(schedule(config, steps=24)(step)) for step in range(40)]
    assert values[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert values[14] == pytest.approx(later)  # half way between the warm-up and the end
    assert values[24:] == pytest.approx([end] * 16)


def test_wsd_falls_on_a_line_over_the_last_steps() -> None:
    config = OptimizerConfig(
        learning_rate=1.0, schedule="wsd", warmup_steps=5, cooldown_fraction=0.25, final_fraction=0.0
    )
    values = [float(schedule(config, steps=40)(step)) for step in range(41)]
    assert values[5:31] == pytest.approx([1.0] * 26)
    assert values[31:] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_a_warm_up_that_is_asked_for_is_never_cut() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=10)
    values = [float(schedule(config, steps=12)(step)) for step in range(12)]
    assert values[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    config.require_warmup(10)
    with pytest.raises(ConfigError, match="warmup_steps = 10 is more than steps = 9, .* take at most 9"):
        config.require_warmup(9)
    with pytest.raises(ConfigError, match="warmup_steps = 10 is more than decay_steps = 8"):
        dataclasses.replace(config, decay_steps=8)
    dataclasses.replace(config, decay_steps=100).require_warmup(9)


def test_the_default_warm_up_is_ten_steps_or_half_of_a_shorter_run() -> None:
    config = OptimizerConfig(learning_rate=1.0)
    assert [config.warmup(steps) for steps in (1, 12, 20, 1000)] == [0, 6, 10, 10]
    assert max(float(schedule(config, steps=3)(step)) for step in range(3)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "learning rate: 10 steps of warm-up to 0.001, cosine to 0.0001 at step 100"),
        ({"schedule": "constant", "warmup_steps": 3}, "learning rate: 3 steps of warm-up to 0.001, constant"),
        ({"schedule": "wsd"}, "warm-up to 0.001, constant to step 80, wsd to 0.0001 at step 100"),
        ({"schedule": "linear", "decay_steps": 400}, "linear to 0.0001 at step 400"),
    ],
)
def test_the_schedule_is_described_in_words(changes: dict[str, Any], words: str) -> None:
    assert words in OptimizerConfig(**changes).describe(100)


def test_decay_steps_make_the_schedule_independent_of_the_length_of_the_run() -> None:
    config = OptimizerConfig(decay_steps=50)
    short, long = schedule(config, steps=20), schedule(config, steps=80)
    assert [float(short(step)) for step in range(20)] == [float(long(step)) for step in range(20)]


def test_the_first_update_equals_that_of_adam() -> None:
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.0, clip_norm=1e9)
    after = _updates(config, [_params(3.0)])
    # The bias-corrected means of a first gradient g are g and g²: the step is the learning rate, whatever g is.
    assert after["matrix"] == pytest.approx(np.full((4, 4), 0.9), abs=1e-6)


def test_norms_are_not_decayed_and_matrices_are() -> None:
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.5)
    after = _updates(config, [_params(0.0)])
    assert after["matrix"] == pytest.approx(np.full((4, 4), 1 - 0.1 * 0.5), abs=1e-6)
    assert np.array_equal(after["norm"], np.ones((2, 4)))


def test_a_large_gradient_is_clipped_to_the_maximum_norm() -> None:
    # With a large epsilon the step is in proportion to the gradient, so that its scale shows.
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=0, weight_decay=0.0, clip_norm=1.0, epsilon=1e3)
    moved = 1 - _updates(config, [_params(7.0)])["matrix"]
    unit = 1 / math.sqrt(4 * 4 + 2 * 4)
    assert moved == pytest.approx(np.full((4, 4), unit / 1e3), rel=1e-2)


def test_lion_moves_each_parameter_by_the_sign_of_its_momentum() -> None:
    config = OptimizerConfig(name="lion", learning_rate=0.1, warmup_steps=0, weight_decay=0.5, beta1=0.9, beta2=0.99)
    config = dataclasses.replace(config, clip_norm=1e9, schedule="constant")
    gradients = [3.0, -1.0, -40.0]
    after = _updates(config, [_params(g) for g in gradients])
    matrix, norm, mean = 1.0, 1.0, 0.0
    for g in gradients:
        sign = np.sign(0.9 * mean + 0.1 * g)
        matrix, norm = matrix - 0.1 * (sign + 0.5 * matrix), norm - 0.1 * sign
        mean = 0.99 * mean + 0.01 * g
    assert after["matrix"] == pytest.approx(np.full((4, 4), matrix), abs=1e-6)
    assert after["norm"] == pytest.approx(np.full((2, 4), norm), abs=1e-6)


def _layer() -> Any:
    """A stack of two matrices with heads on the output side, one with heads on the input side, a table and norms."""
    declared = {
        "query": Weight(shape=(8, 2, 3), dims=("embed", "heads", "head_dim"), init=jax.random.normal).stacked(2),
        "output": Weight(shape=(2, 3, 8), dims=("heads", "head_dim", "embed"), init=jax.random.normal).stacked(2),
        "table": Weight(shape=(5, 8), dims=("vocab", "embed"), init=jax.random.normal),
        "norm": Weight(shape=(8,), dims=("model",), init=jax.random.normal, decayed=False).stacked(2),
    }

    class Model(nnx.Module):
        def __init__(self) -> None:
            self.weights = nnx.Dict({name: w.make(jax.random.key(i)) for i, (name, w) in enumerate(declared.items())})

    return nnx.state(Model())["weights"]


def _orthogonal(matrix: np.ndarray) -> np.ndarray:
    """Newton-Schulz iterations of Muon, on a matrix of at least as many columns as rows."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.775 * product + 2.0315 * product @ product) @ x
    return x


@pytest.mark.slow
def test_muon_makes_the_updates_of_layers_orthogonal_and_adamw_does_the_rest() -> None:
    config = OptimizerConfig(name="muon", learning_rate=0.1, warmup_steps=0, weight_decay=0.5, schedule="constant")
    config = dataclasses.replace(config, clip_norm=1e9)
    params = _layer()
    gradient = jax.tree.map(lambda x: jnp.sin(3 * x), params)
    optimizer = make_optimizer(config, steps=10)
    updates, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    plain = make_optimizer(dataclasses.replace(config, name="adamw"), steps=10)
    adamw, _ = jax.jit(plain.update)(gradient, plain.init(params), params)
    for name in ("table", "norm"):
        np.testing.assert_allclose(updates[name].get_value(), adamw[name].get_value(), rtol=1e-6)
    for name, rows in (("query", 8), ("output", 6)):
        for layer in range(2):
            g, p, made = (np.asarray(tree[name].get_value()[layer], np.float64) for tree in (gradient, params, updates))
            flat = g.reshape(rows, -1)
            direction = _orthogonal(flat) if rows <= flat.shape[1] else _orthogonal(flat.T).T
            expected = -0.1 * (0.2 * np.sqrt(8) * direction.reshape(g.shape) + 0.5 * p)
            np.testing.assert_allclose(made, expected, atol=2e-4)


@pytest.mark.slow
def test_the_updates_of_muon_do_not_depend_on_the_sharding() -> None:
    config = OptimizerConfig(name="muon", warmup_steps=0)
    optimizer, params = make_optimizer(config, steps=10), _layer()
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2, sequence=2))
    split = jax.tree.map(jax.device_put, params, shardings(params, mesh))
    places = jax.tree.map(lambda x: x.sharding, split)

    def update(params: Any) -> Any:
        return optimizer.update(jax.tree.map(jnp.sin, params), optimizer.init(params), params)[0]

    ours, theirs = jax.jit(update, out_shardings=places)(split), jax.jit(update)(params)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "sgd"),
        ("state_dtype", "float16"),
        ("param_dtype", "int8"),
        ("ema_decay", 1.0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("final_fraction", 1.5),
        ("weight_decay", -1.0),
        ("warmup_steps", -1),
        ("decay_steps", 0),
        ("schedule", "step"),
        ("clip_norm", 0.0),
        ("epsilon", 0.0),
    ],
)
def test_an_invalid_value_is_rejected_with_the_name_of_the_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{field}.*{value}"):
        OptimizerConfig(**{field: value})
