from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.vqgan.quantizer_examples import KEY, initialized, noise
from tokenizer.quantizers.simvq import SimvqConfig

pytestmark = pytest.mark.slow


def test_the_initial_codes_have_the_mean_and_covariance_of_the_latents() -> None:
    latents = noise(4000, 3) @ noise(3, 3, seed=1) + jnp.asarray([[5.0, -2.0, 0.0]])
    quantizer = SimvqConfig()
    codebook = quantizer.codebook(quantizer.init(latents, KEY, codes=4000, mean_count=1.0))
    np.testing.assert_allclose(codebook.mean(0), latents.mean(0), atol=0.2)
    np.testing.assert_allclose(np.cov(np.asarray(codebook).T), np.cov(np.asarray(latents).T), rtol=0.15, atol=0.15)


def test_latents_of_a_singular_covariance_initialize_finite_codes() -> None:
    quantizer = SimvqConfig()
    codebook = quantizer.codebook(quantizer.init(noise(2, 8), KEY, codes=32, mean_count=1.0))
    assert np.isfinite(codebook).all()


def test_a_gradient_step_moves_unused_codes_too() -> None:
    quantizer, variables, _ = initialized("simvq")
    latents = noise(1, 8, seed=4)
    chosen = int(quantizer.quantize(variables, latents, KEY).codes[0])
    slope = jax.jit(jax.grad(lambda v: quantizer.quantize(v, latents, KEY).loss))(variables)
    moved = jax.tree.map(lambda a, g: a - 0.1 * g, variables, slope)
    change = np.abs(np.asarray(quantizer.codebook(moved) - quantizer.codebook(variables))).sum(-1)
    assert (np.delete(change, chosen) > 0).all()


def test_a_negative_loss_weight_is_rejected() -> None:
    with pytest.raises(ConfigError, match="commitment must not be negative"):
        SimvqConfig(commitment=-0.5)
