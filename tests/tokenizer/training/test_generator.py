from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.vqgan.tiny_vqgan import DOT, tiny_weights
from tests.support.vqgan.tokenizer_training import batch, config, initial_state, largest
from tokenizer.quantizers.ema import EmaConfig
from tokenizer.quantizers.registry import Quantizers
from tokenizer.training import discriminator
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.generator import (
    GeneratorGradients,
    adaptive_weight,
    generator_gradients,
    reconstruct,
    reconstruction_loss,
)
from tokenizer.training.losses import LossConfig
from tokenizer.vqgan.vqgan import to_unit

pytestmark = pytest.mark.slow


def pixels_of(run: TokenizerTrainConfig) -> jax.Array:
    return to_unit(jnp.asarray(batch(run)))


@lru_cache
def gradients_of(*terms: str, compute: str = "float32") -> GeneratorGradients:
    """The gradients of some terms of the loss alone."""
    weights = {name: float(name in terms) for name in ("l1", "coarse", "edges")}
    options = Quantizers(ema=EmaConfig(commitment=float("commitment" in terms)))
    run = config(loss=LossConfig(**weights), options=options, compute=compute)
    state = initial_state(run)
    run_jitted = jax.jit(lambda s, pixels: generator_gradients(run, s.generator, s.quantizer_state, pixels, s.key))
    return run_jitted(state, pixels_of(run))


def test_the_reconstruction_loss_reaches_the_encoder_straight_through_the_codes() -> None:
    gradients = gradients_of("l1").gradients.params
    assert largest(gradients["encoder"]) > 0
    assert largest(gradients["decoder"]) > 0


def test_bfloat16_reconstructs_almost_the_same_and_its_gradients_are_float32() -> None:
    rough, exact = gradients_of("l1", compute="bfloat16"), gradients_of("l1")
    error = np.abs(np.asarray(rough.reconstructed - exact.reconstructed))
    assert 0 < np.median(error) < 0.05  # a few codes may differ
    assert {leaf.dtype for leaf in jax.tree.leaves(rough.gradients)} == {jnp.dtype("float32")}


def test_the_commitment_loss_reaches_the_encoder_and_not_the_decoder() -> None:
    gradients = gradients_of("commitment").gradients.params
    assert largest(gradients["encoder"]) > 0
    assert largest(gradients["quant_conv"]) > 0
    assert largest(gradients["decoder"]) == 0
    assert largest(gradients["post_quant_conv"]) == 0


def test_the_codebook_follows_the_latents_independently_of_the_loss() -> None:
    one, other = (gradients_of(term).quantized.state.codebook for term in ("l1", "commitment"))
    assert largest(one - tiny_weights(DOT).codebook) > 0
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_gradients_are_those_of_the_sum_of_losses_with_a_constant_adaptive_weight() -> None:
    run = config()
    graphdef, _ = discriminator.abstract(run.discriminator)
    state, pixels = initial_state(run), pixels_of(run)
    critic = state.discriminator
    assert critic is not None

    def total(generator: Any, weight: jax.Array) -> jax.Array:
        reconstructed, quantized = reconstruct(run, generator, state.quantizer_state, pixels, state.key)
        loss, _ = reconstruction_loss(reconstructed, pixels, None, run.loss, "float32")
        logits = nnx.merge(graphdef, critic.params)(reconstructed)
        return loss + quantized.loss - run.discriminator.weight * weight * logits.mean()

    @jax.jit
    def both() -> tuple[GeneratorGradients, Any]:
        found = generator_gradients(
            run, state.generator, state.quantizer_state, pixels, state.key, discriminator=critic.params
        )
        return found, jax.grad(total)(state.generator, found.metrics["adaptive_weight"])

    found, expected = both()
    assert float(found.metrics["adaptive_weight"]) > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found.gradients, expected)


def test_the_adaptive_weight_is_a_clipped_ratio_without_a_gradient() -> None:
    a, b = jnp.asarray([3.0, 4.0]), jnp.asarray([0.0, 0.5])
    assert float(adaptive_weight(a, b, 1e4)) == pytest.approx(10, rel=1e-3)
    assert float(adaptive_weight(a, b * 0, 1e4)) == 1e4
    assert largest(jax.grad(adaptive_weight, (0, 1))(a, b, 1e4)) == 0
