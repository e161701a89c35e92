"""Reconstruction losses, on pixels in [-1, 1].

The perceptual distance (`perceptual.py`) is optional, as VGG features cost more on a CPU than the small model. Two
cheap terms replace a part of it. The edge loss compares contours. The coarse loss compares the brightness and color of
regions, which L1 alone learns late: its minimum is a median over pixels, and most of those are texture that a code
cannot represent.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from tokenizer.config import require_weights
from tokenizer.vqgan.layers import average_pool

CELL = 8  # pixels per side of a cell of the coarse loss; H and W must be multiples of it


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms of the reconstruction loss."""

    l1: float = 1.0  # of the mean absolute difference of pixels
    coarse: float = 1.0  # of the difference of means over 8 x 8 pixels
    edges: float = 0.1  # of the difference of image gradients
    perceptual: float = 1.0  # of the distance of VGG features, if --perceptual is given

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        require_weights(self, "l1", "coarse", "edges", "perceptual")


def l1(reconstructed: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the mean absolute difference of two arrays `[B, H, W, 3]`."""
    return jnp.abs(reconstructed - pixels).mean()


def coarse(reconstructed: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the mean absolute difference of the means over cells of 8 x 8 pixels."""
    return jnp.abs(average_pool(average_pool(average_pool(reconstructed - pixels)))).mean()


def edges(reconstructed: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the mean absolute difference of image gradients, summed over full, half and quarter resolution."""
    error = reconstructed - pixels  # the gradient is linear, so the gradient of the error is the error of the gradient
    total = jnp.zeros((), jnp.float32)
    for _ in range(3):
        total += jnp.abs(error[:, 1:] - error[:, :-1]).mean() + jnp.abs(error[:, :, 1:] - error[:, :, :-1]).mean()
        error = average_pool(error)
    return total
