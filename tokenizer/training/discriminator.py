"""The discriminator: a PatchGAN, which classifies each patch as real or reconstructed, with hinge and LeCAM losses.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv 1611.07004), in the variant of
taming transformers (arXiv 2012.09841): 4x4 convolutions, the first ones with stride 2, leaky ReLU; three layers of
stride 2 have a receptive field of 70 pixels. It uses group instead of batch normalization, so the logits of an image do
not depend on the other images of the batch, and there are no running statistics. LeCAM (Tseng et al., arXiv 2104.03310)
penalizes logits of real images that are far from the moving average of those of reconstructed images, and vice versa,
which stabilizes training on few images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from schemas.errors import ConfigError
from tokenizer.config import Compute, require_weights
from tokenizer.vqgan.layers import GroupNorm

_SLOPE = 0.2  # of the leaky ReLU below zero
_GROUPS = 8
_INITIAL_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Options of the discriminator and of the adversarial loss."""

    weight: float = 0.8  # of the adversarial loss, multiplied by the adaptive weight; 0: no discriminator
    start: int = 10_000  # the first step with a discriminator; earlier steps neither train nor use it
    filters: int = 64  # channels of the first layer, doubled from layer to layer, at most 8 times as many
    layers: int = 3  # number of layers with stride 2
    max_weight: float = 1e4  # upper limit of the adaptive weight
    lecam: float = 0.05  # weight of the LeCAM loss
    lecam_decay: float = 0.999  # decay of its moving averages

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        require_weights(self, "weight", "max_weight", "lecam", "start")
        if not 0 <= self.lecam_decay < 1:
            raise ConfigError(f"lecam_decay must be in [0, 1), got {self.lecam_decay}")
        if self.filters < 1 or self.filters % _GROUPS:
            raise ConfigError(f"filters must be a multiple of {_GROUPS}, got {self.filters}")
        if self.layers < 1:
            raise ConfigError(f"layers must be at least 1, got {self.layers}")

    @property
    def min_size(self) -> int:
        """Smallest image that the discriminator accepts, in pixels per side."""
        return 3 << self.layers


class LogitAverages(NamedTuple):
    """LeCAM's moving averages of the logits, float32 scalars."""

    real: jax.Array
    reconstructed: jax.Array


class Discriminator(nnx.Module):
    """Maps images to one logit per patch: positive for real, negative for reconstructed images."""

    def __init__(self, config: DiscriminatorConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        widths = [config.filters * min(1 << i, 8) for i in range(config.layers + 1)]
        self.convs: nnx.List[nnx.Conv] = nnx.List([])
        self.norms: nnx.List[GroupNorm] = nnx.List([])
        inputs = 3
        for i, outputs in enumerate(widths):
            stride = 2 if i < config.layers else 1
            padding = ((1, 1), (1, 1))
            self.convs.append(
                nnx.Conv(inputs, outputs, (4, 4), strides=stride, padding=padding, dtype=dtype, rngs=rngs)
            )
            if i > 0:
                self.norms.append(GroupNorm(outputs, groups=_GROUPS))
            inputs = outputs
        self.conv_out = nnx.Conv(inputs, 1, (4, 4), padding=((1, 1), (1, 1)), dtype=dtype, rngs=rngs)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Map `[B, H, W, 3]` in [-1, 1] to logits `[B, h, w]`, float32."""
        x = pixels
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i > 0:
                x = self.norms[i - 1](x)
            x = nnx.leaky_relu(x, _SLOPE)
        return self.conv_out(x)[..., 0].astype(jnp.float32)


@lru_cache(maxsize=4)
def abstract(config: DiscriminatorConfig, compute: Compute = "float32") -> tuple[nnx.GraphDef, nnx.State]:
    """Return the graph definition and the parameters' shapes without allocating them."""
    return nnx.split(nnx.eval_shape(lambda: Discriminator(config, dtype=jnp.dtype(compute), rngs=nnx.Rngs(0))))


def init_params(config: DiscriminatorConfig, seed: int) -> nnx.State:
    """Return random parameters, float32: kernels normal with a standard deviation of 0.02, biases 0, scales 1."""
    rng = np.random.default_rng([seed, 1])  # independent of the generator's numbers

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if len(leaf.shape) == 1:
            return jnp.full(leaf.shape, 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0, jnp.float32)
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) * np.float32(_INITIAL_STD))

    return jax.tree.map_with_path(fill, abstract(config)[1])


def hinge(real: jax.Array, reconstructed: jax.Array) -> jax.Array:
    """Return the hinge loss of the logits of real and of reconstructed images."""
    return 0.5 * (nnx.relu(1.0 - real).mean() + nnx.relu(1.0 + reconstructed).mean())


def lecam(real: jax.Array, reconstructed: jax.Array, averages: LogitAverages) -> jax.Array:
    """Return LeCAM's penalty: squared distances of logits beyond the average logit of the other class."""
    above = jnp.square(nnx.relu(real - averages.reconstructed)).mean()
    return above + jnp.square(nnx.relu(averages.real - reconstructed)).mean()


def discriminator_loss(
    params: nnx.State,
    graphdef: nnx.GraphDef,
    pixels: jax.Array,
    reconstructed: jax.Array,
    averages: LogitAverages,
    config: DiscriminatorConfig,
) -> tuple[jax.Array, tuple[LogitAverages, dict[str, jax.Array]]]:
    """Return the loss of the discriminator, and as auxiliary output its next averages and metrics.

    Only `params` have a gradient. `pixels` and `reconstructed` are `[B, H, W, 3]`.
    """
    model = nnx.merge(graphdef, params)
    real, fake = model(jax.lax.stop_gradient(pixels)), model(jax.lax.stop_gradient(reconstructed))
    means = jax.lax.stop_gradient(LogitAverages(real.mean(), fake.mean()))
    decay = config.lecam_decay
    updated = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, averages, means)
    loss = hinge(real, fake)
    metrics = {"hinge": loss, "real_logit": means.real, "reconstructed_logit": means.reconstructed}
    if config.lecam > 0:
        loss = loss + config.lecam * lecam(real, fake, jax.lax.stop_gradient(averages))
    return loss, (updated, metrics)
