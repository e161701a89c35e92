from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.support.vqgan.tiny_vqgan import DOT, tiny_weights
from tests.support.vqgan.tokenizer_training import assert_equal, batch, config, initial_state, placed
from tokenizer.checkpoints import checkpoint
from tokenizer.training import discriminator
from tokenizer.training.generator import reconstruct
from tokenizer.training.step import (
    abstract_state,
    compiled_train_step,
    make_mesh,
    make_optimizers,
    replicated,
    state_from_weights,
    weights_of,
)
from tokenizer.vqgan.vqgan import to_unit

pytestmark = pytest.mark.slow


def test_before_its_start_the_discriminator_has_no_influence_and_is_not_updated() -> None:
    step = compiled_train_step(config(), adversarial=False, mesh=make_mesh(1))
    states = [initial_state(config(), seed) for seed in (0, 5)]
    critics = [jax.device_get(state.discriminator) for state in states]
    (one, _), (other, _) = (step(state, placed(batch(config()), make_mesh(1)), None) for state in states)
    assert_equal(one.generator, other.generator)
    assert_equal(one.discriminator, critics[0])
    assert_equal(other.discriminator, critics[1])


def test_a_step_is_a_pure_function_and_the_average_forgets_the_initial_weights() -> None:
    step = compiled_train_step(config(), adversarial=False, mesh=make_mesh(1))
    images = placed(batch(config()), make_mesh(1))
    state, _ = step(initial_state(config()), images, None)  # the learning rate of the first step is 0
    old = jax.device_get(state.averaged.params)
    (one, _), (other, _) = (
        step(jax.device_put(state, replicated(make_mesh(1)), may_alias=False), images, None) for _ in range(2)
    )
    assert_equal(one._replace(key=jax.random.key_data(one.key)), other._replace(key=jax.random.key_data(other.key)))
    assert int(one.step) == 2
    now, mean = (p["quant_conv"]["bias"][...] for p in (one.generator.params, one.averaged.params))
    np.testing.assert_allclose(mean, 2 / 11 * old["quant_conv"]["bias"][...] + 9 / 11 * now, rtol=1e-5)


def test_an_adversarial_step_updates_the_discriminator_by_its_own_loss() -> None:
    run, mesh = config(), make_mesh(1)
    state, pixels = initial_state(run), to_unit(jnp.asarray(batch(run)))
    critic = state.discriminator
    assert critic is not None
    graphdef, _ = discriminator.abstract(run.discriminator)
    key = jax.random.split(state.key)[1]

    @jax.jit
    def expected_moments() -> optax.OptState:
        reconstructed, _ = reconstruct(run, state.generator, state.quantizer_state, pixels, key)
        gradient = jax.grad(discriminator.discriminator_loss, has_aux=True)
        found, _ = gradient(critic.params, graphdef, pixels, reconstructed, critic.averages, run.discriminator)
        with jax.numpy_dtype_promotion("standard"):
            return make_optimizers(run)[1].update(found, critic.optimizer, critic.params)[1]

    moments = expected_moments()
    step = compiled_train_step(run, adversarial=True, mesh=mesh)
    updated, metrics = step(initial_state(run), placed(batch(run), mesh), None)
    assert updated.discriminator is not None
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), updated.discriminator.optimizer, moments
    )
    np.testing.assert_allclose(updated.discriminator.averages.real, 0.001 * metrics["real_logit"], rtol=1e-4)


def test_four_devices_train_like_one() -> None:
    run, ended = config(), []
    for devices in (1, 4):
        mesh = make_mesh(devices)
        step = compiled_train_step(run, adversarial=True, mesh=mesh)
        state = jax.device_put(initial_state(run), replicated(mesh))
        for _ in range(3):
            state, metrics = step(state, placed(batch(run), mesh), None)
        ended.append(jax.device_get((metrics, state.quantizer_state, state.averaged)))
        assert len(jax.tree.leaves(state.generator)[0].sharding.device_set) == devices
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *ended)


def test_a_state_starts_from_the_weights_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "dot.safetensors", tiny_weights(DOT))
    state = state_from_weights(config(), checkpoint.load(tmp_path / "dot.safetensors"))
    assert_equal(state.generator.params, tiny_weights(DOT).params)
    np.testing.assert_array_equal(state.quantizer_state.codebook, tiny_weights(DOT).codebook)
    weights = weights_of(config(), state)
    assert_equal((weights.params, weights.codebook), (tiny_weights(DOT).params, tiny_weights(DOT).codebook))


def test_an_abstract_state_has_the_shapes_of_a_state() -> None:
    state, abstract = initial_state(config()), abstract_state(config())
    assert jax.tree.map(lambda a: (a.shape, a.dtype), abstract) == jax.tree.map(lambda a: (a.shape, a.dtype), state)


def test_each_step_is_compiled_once(whole: Path) -> None:
    for adversarial in (False, True):
        step: Any = compiled_train_step(config(), adversarial=adversarial, mesh=make_mesh(1))
        assert step._cache_size() == 1
