"""The generator's half of a training step: from pixels to the gradient of encoder, codebook and decoder.

The losses meet at the rebuilt pixels. Each has a slope there; their sum goes back through the model once. So what the
discriminator says comes in as a slope and nothing else, and the adaptive weight (Esser et al., arXiv 2012.09841,
eq. 7), the ratio of the slopes' sizes at the last layer's kernel, is a number that no gradient passes.

Shapes: B crops, H x W pixels, N = B·h·w latents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tokenizer.quantizers.base import Quantized, Variables
from tokenizer.training import discriminator, losses, perceptual
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.losses import LossConfig
from tokenizer.training.perceptual import Vgg
from tokenizer.vqgan.vqgan import abstract

_LAST_LAYER_EPSILON = 1e-4

Metrics = dict[str, jax.Array]


class Generator(NamedTuple):
    """What is trained by gradient to rebuild pictures."""

    params: nnx.State  # of `Vqgan`
    quantizer: Any  # `Variables.trained` of the quantizer


class Slopes(NamedTuple):
    """What the generator's half of a step found."""

    grads: Generator
    rebuilt: jax.Array  # [B, H, W, 3]
    quantized: Quantized
    metrics: Metrics


def rebuild(
    config: TokenizerTrainConfig, generator: Generator, moved: Any, pixels: jax.Array, key: jax.Array
) -> tuple[jax.Array, Quantized]:
    """Return the rebuilt pixels `[B, H, W, 3]`, not clipped, and what the quantizer made of the N latents."""
    model = nnx.merge(abstract(config.model, config.compute)[0], generator.params)
    latents = model.latents(pixels)
    rows = latents.reshape(-1, latents.shape[-1])
    quantized = config.codebook.quantize(Variables(generator.quantizer, moved), rows, key)
    return model.pixels(quantized.chosen.reshape(latents.shape)), quantized


def reconstruction(
    rebuilt: jax.Array, pixels: jax.Array, vgg: Vgg | None, config: LossConfig, compute: str
) -> tuple[jax.Array, Metrics]:
    """Return the weighted loss of the rebuilt pixels, and its terms."""
    terms = {
        "l1": losses.l1(rebuilt, pixels),
        "coarse": losses.coarse(rebuilt, pixels),
        "edges": losses.edges(rebuilt, pixels),
    }
    if vgg is not None:
        terms["perceptual"] = perceptual.distance(vgg, rebuilt, pixels, jnp.dtype(compute))
    return sum((getattr(config, name) * term for name, term in terms.items()), jnp.zeros(())), terms


def slopes(
    config: TokenizerTrainConfig,
    generator: Generator,
    moved: Any,
    pixels: jax.Array,
    key: jax.Array,
    *,
    vgg: Vgg | None = None,
    critic: nnx.State | None = None,
) -> Slopes:
    """Return the gradient for pixels `[B, H, W, 3]` in [-1, 1]; `critic`: the discriminator's parameters, if it is on.

    Nothing here changes the critic, and where it is None it has no part in anything.
    """

    def run(generator: Generator) -> tuple[tuple[jax.Array, jax.Array], Quantized]:
        rebuilt, quantized = rebuild(config, generator, moved, pixels, key)
        return (rebuilt, quantized.loss), quantized

    (rebuilt, codes_loss), back, quantized = jax.vjp(run, generator, has_aux=True)
    judge = jax.value_and_grad(reconstruction, has_aux=True)
    (loss, metrics), slope = judge(rebuilt, pixels, vgg, config.loss, config.compute)
    metrics["loss"] = loss + codes_loss
    if critic is not None:
        adversarial, other = jax.value_and_grad(_unconvinced)(rebuilt, critic, config)

        def last_layer(slope: jax.Array) -> jax.Array:  # what else `back` computes is dropped by the compiler
            return back((slope, jnp.zeros_like(codes_loss)))[0].params["decoder"]["conv_out"]["kernel"][...]

        weight = adaptive_weight(last_layer(slope), last_layer(other), config.discriminator.max_weight)
        slope = slope + config.discriminator.weight * weight * other
        metrics |= {"adversarial": adversarial, "adaptive_weight": weight}
    (grads,) = back((slope, jnp.ones_like(codes_loss)))
    errors = jnp.square(jnp.clip(rebuilt, -1, 1) - pixels).mean((1, 2, 3))
    squares = sum((jnp.square(g).sum() for g in jax.tree.leaves(grads)), jnp.zeros(()))
    metrics["psnr"] = (10 * jnp.log10(4.0 / jnp.maximum(errors, 1e-10))).mean()
    metrics["grad_norm"] = jnp.sqrt(squares)
    metrics |= quantized.terms
    return Slopes(grads, rebuilt, quantized, metrics)


def adaptive_weight(reconstruction: jax.Array, adversarial: jax.Array, limit: float) -> jax.Array:
    """Return the ratio of the sizes of two gradients of the last layer, at most `limit`; it has no gradient itself."""
    sizes = [jnp.sqrt(jnp.square(g).sum()) for g in (reconstruction, adversarial)]
    return jax.lax.stop_gradient(jnp.clip(sizes[0] / (sizes[1] + _LAST_LAYER_EPSILON), 0.0, limit))


def _unconvinced(rebuilt: jax.Array, critic: nnx.State, config: TokenizerTrainConfig) -> jax.Array:
    graphdef, _ = discriminator.abstract(config.discriminator, config.compute)
    return -nnx.merge(graphdef, critic)(rebuilt).mean()
