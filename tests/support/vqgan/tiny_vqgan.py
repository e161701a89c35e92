"""Small VQGANs with random weights, for tests."""

from __future__ import annotations

import math

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.config import VqganConfig
from tokenizer.vqgan.vqgan import abstract

TINY = VqganConfig(name="tiny", frame_size=16, channels=(8, 16), blocks=1, groups=4, latent_dim=8, codebook_size=32)

# One level, so that a training step compiles in a few seconds; one code per pixel.
DOT = VqganConfig(name="dot", frame_size=8, channels=(4,), blocks=1, groups=2, latent_dim=4, codebook_size=16)


def tiny_params(config: VqganConfig = TINY) -> nnx.State:
    """Return random parameters, scaled to keep the variance of activations about constant."""
    rng = np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        fan_in = math.prod(leaf.shape[:-1])
        return jax.numpy.asarray(rng.standard_normal(leaf.shape) / math.sqrt(fan_in), np.float32)

    return jax.tree.map(fill, abstract(config)[1])


def tiny_weights(config: VqganConfig = TINY) -> Weights:
    """Return random parameters and a random codebook."""
    rng = np.random.default_rng(1)
    codebook = rng.standard_normal((config.codebook_size, config.latent_dim)).astype(np.float32)
    return Weights(config, tiny_params(config), jax.numpy.asarray(codebook))


def tiny_weights_of_varied_codes() -> Weights:
    """`tiny_weights` without biases, which would move the latents of all frames near the same codebook entry."""
    weights = tiny_weights()

    def unbiased(path: jax.tree_util.KeyPath, leaf: jax.Array) -> jax.Array:
        return leaf * 0 if "bias" in jax.tree_util.keystr(path) else leaf

    return weights._replace(params=jax.tree.map_with_path(unbiased, weights.params))


def moving_disc(count: int, height: int = 128, width: int = 128) -> NDArray[np.uint8]:
    """Return frames of a bright disc that moves over a colored gradient, with noise: no two frames are equal."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    noise = np.random.default_rng(0)
    frames = []
    for t in range(count):
        picture = np.stack([255 * y / height, 255 * x / width, 120 + 60 * np.sin((x + y + 9 * t) / 20)], -1)
        picture[np.hypot(y - height / 2, x - width * (t + 1) / (count + 1)) < height / 6] = (250, 240, 200)
        frames.append(np.clip(picture + noise.normal(0, 3, picture.shape), 0, 255))
    return np.stack(frames).astype(np.uint8)
