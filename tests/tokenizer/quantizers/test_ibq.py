from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.vqgan.quantizer_examples import KEY, initialized, noise
from tests.support.vqgan.tiny_vqgan import TINY
from tokenizer.quantizers.base import Variables
from tokenizer.quantizers.ibq import IbqConfig

pytestmark = pytest.mark.slow


def test_codes_have_the_largest_inner_product() -> None:
    quantizer, variables, latents = initialized("ibq")
    products = np.asarray(latents, np.float64) @ np.asarray(variables.params, np.float64).T
    codes = np.asarray(quantizer.quantize(variables, latents, KEY).codes)
    np.testing.assert_allclose(products[np.arange(len(latents)), codes], products.max(1), atol=1e-5)
    assert quantizer.configure(TINY).lookup == "product"


def test_initial_codes_have_equal_lengths() -> None:
    latents = noise(200, 8) + 3.0
    codebook = IbqConfig().init(latents, KEY, codes=32, mean_count=1.0).params
    lengths = np.linalg.norm(codebook, axis=1)
    np.testing.assert_allclose(lengths, lengths.mean(), rtol=1e-5)


def test_the_gradient_reaches_all_codes_including_unused_ones() -> None:
    quantizer, variables, latents = initialized("ibq", count=3)
    few = quantizer.quantize(variables, latents, KEY).codes

    def through(codebook: jax.Array) -> jax.Array:
        return (quantizer.quantize(Variables(codebook, ()), latents, KEY).values ** 2).sum()

    slope = np.abs(np.asarray(jax.jit(jax.grad(through))(variables.params))).sum(-1)
    assert len(np.unique(few)) <= 3
    assert (slope > 0).all()


def test_quantized_values_equal_the_exported_codes() -> None:
    quantizer, variables, latents = initialized("ibq")
    quantized = quantizer.quantize(variables, latents, KEY)
    np.testing.assert_allclose(quantized.values, quantizer.codebook(variables)[quantized.codes], rtol=3e-7, atol=1e-7)


def test_the_entropy_loss_is_minimal_for_confident_assignments_that_use_all_codes_equally() -> None:
    quantizer = IbqConfig(commitment=0.0, codes=0.0, entropy=1.0, temperature=1.0)
    axes = jnp.eye(4) * 50.0

    def of(latents: jax.Array) -> float:
        return float(quantizer.quantize(Variables(axes, ()), latents, KEY).loss)

    assert of(jnp.eye(4)) == pytest.approx(-np.log(4), abs=1e-3)
    assert of(jnp.eye(4)[:1].repeat(4, 0)) == pytest.approx(0.0, abs=1e-3)  # confident, but always the same code
    assert of(jnp.zeros((4, 4))) == pytest.approx(0.0, abs=1e-3)  # all codes equally, but not confident


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entropy": -1.0}, "entropy must not be negative, got -1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0"),
    ],
)
def test_an_invalid_option_is_rejected(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IbqConfig(**change)
