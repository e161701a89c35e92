"""The generator's half of a training step: from pixels to the gradients of encoder, codebook and decoder.

All losses are functions of the reconstructed pixels. Their gradients with respect to those pixels are added, and the
sum is propagated through the model once. The adversarial loss thus enters as a gradient of the pixels only, scaled by
the adaptive weight (Esser et al., arXiv 2012.09841, eq. 7): the ratio of the gradient norms of the two losses at the
kernel of the last layer, which itself has no gradient.

Shapes: B crops, H x W pixels, N = B·h·w latents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tokenizer.quantizers.base import Quantized, Variables
from tokenizer.training import discriminator as patchgan
from tokenizer.training import losses, perceptual
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.losses import LossConfig
from tokenizer.training.perceptual import Vgg
from tokenizer.vqgan.vqgan import abstract

_NORM_EPSILON = 1e-4

Metrics = dict[str, jax.Array]


class Generator(NamedTuple):
    """The parameters that the optimizer of the generator updates."""

    params: nnx.State  # of `Vqgan`
    quantizer: Any  # `Variables.params` of the quantizer


class GeneratorGradients(NamedTuple):
    """Results of the generator's half of a step."""

    gradients: Generator
    reconstructed: jax.Array  # [B, H, W, 3]
    quantized: Quantized
    metrics: Metrics


def reconstruct(
    config: TokenizerTrainConfig, generator: Generator, quantizer_state: Any, pixels: jax.Array, key: jax.Array
) -> tuple[jax.Array, Quantized]:
    """Return the reconstructed pixels `[B, H, W, 3]`, not clipped, and the N quantized latents."""
    model = nnx.merge(abstract(config.model, config.compute)[0], generator.params)
    latents = model.latents(pixels)
    rows = latents.reshape(-1, latents.shape[-1])
    quantized = config.codebook.quantize(Variables(generator.quantizer, quantizer_state), rows, key)
    return model.pixels(quantized.values.reshape(latents.shape)), quantized


def reconstruction_loss(
    reconstructed: jax.Array, pixels: jax.Array, vgg: Vgg | None, config: LossConfig, compute: str
) -> tuple[jax.Array, Metrics]:
    """Return the weighted loss of the reconstructed pixels, and its terms without weights."""
    terms = {
        "l1": losses.l1(reconstructed, pixels),
        "coarse": losses.coarse(reconstructed, pixels),
        "edges": losses.edges(reconstructed, pixels),
    }
    if vgg is not None:
        terms["perceptual"] = perceptual.distance(vgg, reconstructed, pixels, jnp.dtype(compute))
    return sum((getattr(config, name) * term for name, term in terms.items()), jnp.zeros(())), terms


def generator_gradients(
    config: TokenizerTrainConfig,
    generator: Generator,
    quantizer_state: Any,
    pixels: jax.Array,
    key: jax.Array,
    *,
    vgg: Vgg | None = None,
    discriminator: nnx.State | None = None,
) -> GeneratorGradients:
    """Return the gradients for pixels `[B, H, W, 3]` in [-1, 1].

    `discriminator` holds the parameters of the discriminator, which are not updated here; None omits the adversarial
    loss.
    """

    def run(generator: Generator) -> tuple[tuple[jax.Array, jax.Array], Quantized]:
        reconstructed, quantized = reconstruct(config, generator, quantizer_state, pixels, key)
        return (reconstructed, quantized.loss), quantized

    (reconstructed, quantizer_loss), backward, quantized = jax.vjp(run, generator, has_aux=True)
    loss_and_gradient = jax.value_and_grad(reconstruction_loss, has_aux=True)
    (loss, metrics), gradient = loss_and_gradient(reconstructed, pixels, vgg, config.loss, config.compute)
    metrics["loss"] = loss + quantizer_loss
    if discriminator is not None:

        def last_layer(gradient: jax.Array) -> jax.Array:  # the compiler drops the rest of the backward pass
            return backward((gradient, jnp.zeros_like(quantizer_loss)))[0].params["decoder"]["conv_out"]["kernel"][...]

        adversarial, other = jax.value_and_grad(_adversarial_loss)(reconstructed, discriminator, config)
        weight = adaptive_weight(last_layer(gradient), last_layer(other), config.discriminator.max_weight)
        gradient = gradient + config.discriminator.weight * weight * other
        metrics |= {"adversarial": adversarial, "adaptive_weight": weight}
    (gradients,) = backward((gradient, jnp.ones_like(quantizer_loss)))
    metrics |= _measure(reconstructed, pixels, gradients) | quantized.metrics
    return GeneratorGradients(gradients, reconstructed, quantized, metrics)


def adaptive_weight(reconstruction: jax.Array, adversarial: jax.Array, limit: float) -> jax.Array:
    """Return the ratio of the norms of two gradients of the last layer, at most `limit`; it has no gradient."""
    norms = [jnp.sqrt(jnp.square(g).sum()) for g in (reconstruction, adversarial)]
    return jax.lax.stop_gradient(jnp.clip(norms[0] / (norms[1] + _NORM_EPSILON), 0.0, limit))


def _measure(reconstructed: jax.Array, pixels: jax.Array, gradients: Generator) -> Metrics:
    """Return the mean PSNR in dB and the norm of the gradients."""
    errors = jnp.square(jnp.clip(reconstructed, -1, 1) - pixels).mean((1, 2, 3))
    squares = sum((jnp.square(g).sum() for g in jax.tree.leaves(gradients)), jnp.zeros(()))
    return {"psnr": (10 * jnp.log10(4.0 / jnp.maximum(errors, 1e-10))).mean(), "gradient_norm": jnp.sqrt(squares)}


def _adversarial_loss(reconstructed: jax.Array, discriminator: nnx.State, config: TokenizerTrainConfig) -> jax.Array:
    graphdef, _ = patchgan.abstract(config.discriminator, config.compute)
    return -nnx.merge(graphdef, discriminator)(reconstructed).mean()
