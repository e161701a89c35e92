"""The discriminator: a PatchGAN that says of each patch whether it is real, its hinge losses, and LeCAM.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv 1611.07004), as taming
transformers use it (arXiv 2012.09841): 4x4 convolutions, the first ones with stride 2, leaky ReLU; three layers of
stride 2 see patches of 70 pixels. Group instead of batch normalization, so that a picture's answer does not hang on
the others and there are no running means to keep. LeCAM (Tseng et al., arXiv 2104.03310) holds the answers near the
moving averages of those to the other kind, which steadies training on little data.
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
    """The adversarial part of training."""

    weight: float = 0.8  # of the adversarial loss, times the adaptive weight; 0: no discriminator
    start: int = 10_000  # the step that it sets in with; before, it neither learns nor is heard
    filters: int = 64  # of the first layer, doubled layer by layer up to eightfold
    layers: int = 3  # of stride 2
    max_weight: float = 1e4  # the adaptive weight is at most this
    lecam: float = 0.05  # weight of LeCAM in the discriminator's loss
    lecam_decay: float = 0.999  # of its averages

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        require_weights(self, "weight", "max_weight", "lecam", "start")
        if not 0 <= self.lecam_decay < 1:
            raise ConfigError(f"lecam_decay must be in [0, 1), got {self.lecam_decay}")
        if self.filters < 1 or self.filters % _GROUPS:
            raise ConfigError(f"filters must be a multiple of {_GROUPS}, got {self.filters}")
        if self.layers < 1:
            raise ConfigError(f"layers must be at least 1, got {self.layers}")

    @property
    def smallest(self) -> int:
        """Pixels on a side of the smallest picture that an answer can be given to."""
        return 3 << self.layers


class Averages(NamedTuple):
    """LeCAM's moving averages of the answers, float32 scalars."""

    real: jax.Array
    fake: jax.Array


class Discriminator(nnx.Module):
    """Pictures to one answer a patch: above 0 for real, below for rebuilt."""

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
        self.answer = nnx.Conv(inputs, 1, (4, 4), padding=((1, 1), (1, 1)), dtype=dtype, rngs=rngs)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Map `[B, H, W, 3]` in [-1, 1] to `[B, h, w]`, float32."""
        x = pixels
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i > 0:
                x = self.norms[i - 1](x)
            x = nnx.leaky_relu(x, _SLOPE)
        return self.answer(x)[..., 0].astype(jnp.float32)


@lru_cache(maxsize=4)
def abstract(config: DiscriminatorConfig, compute: Compute = "float32") -> tuple[nnx.GraphDef, nnx.State]:
    """Return the model's structure and its parameters' shapes, without allocating any."""
    return nnx.split(nnx.eval_shape(lambda: Discriminator(config, dtype=jnp.dtype(compute), rngs=nnx.Rngs(0))))


def init_params(config: DiscriminatorConfig, seed: int) -> nnx.State:
    """Return random parameters, float32: kernels normal with a deviation of .02, biases 0, scales 1."""
    rng = np.random.default_rng([seed, 1])  # not the generator's numbers

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if len(leaf.shape) == 1:
            return jnp.full(leaf.shape, 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0, jnp.float32)
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) * np.float32(_INITIAL_STD))

    return jax.tree.map_with_path(fill, abstract(config)[1])


def hinge(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Return the discriminator's loss from its answers to real and to rebuilt pictures."""
    return 0.5 * (nnx.relu(1.0 - real).mean() + nnx.relu(1.0 + fake).mean())


def lecam(real: jax.Array, fake: jax.Array, averages: Averages) -> jax.Array:
    """Return LeCAM's penalty: how far answers lie beyond the average answer to the other kind."""
    return jnp.square(nnx.relu(real - averages.fake)).mean() + jnp.square(nnx.relu(averages.real - fake)).mean()


def discriminator_loss(
    params: nnx.State,
    graphdef: nnx.GraphDef,
    pixels: jax.Array,
    rebuilt: jax.Array,
    averages: Averages,
    config: DiscriminatorConfig,
) -> tuple[jax.Array, tuple[Averages, dict[str, jax.Array]]]:
    """Return the loss by which the discriminator learns, and the averages and terms for the log beside it.

    Only `params` have a gradient.
    """
    model = nnx.merge(graphdef, params)
    real, fake = model(jax.lax.stop_gradient(pixels)), model(jax.lax.stop_gradient(rebuilt))
    means = jax.lax.stop_gradient(Averages(real.mean(), fake.mean()))
    decay = config.lecam_decay
    moved = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, averages, means)
    loss = hinge(real, fake)
    terms = {"hinge": loss, "real": means.real, "fake": means.fake}
    if config.lecam > 0:
        loss = loss + config.lecam * lecam(real, fake, jax.lax.stop_gradient(averages))
    return loss, (moved, terms)
