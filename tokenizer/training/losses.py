"""Reconstruction losses, on pixels in [-1, 1].

The perceptual distance is `perceptual.py`, and counts where its weights are given: VGG features on a CPU cost more than
the whole small model. Two cheap terms stand in for a part of it: the edge loss asks for contours where they are, and
the coarse loss for the right brightness and color of a region, which L1 alone (a median over pixels, mostly texture
that no code can hold) learns late.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from tokenizer.config import require_weights
from tokenizer.vqgan.layers import halved

COARSEST = 8  # pixels: H and W must be multiples of it


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms of the loss."""

    l1: float = 1.0  # of each pixel's difference
    coarse: float = 1.0  # of the difference of averages over 8 x 8 pixels
    edges: float = 0.1  # of the difference of contours
    perceptual: float = 1.0  # of the distance of VGG features, where --perceptual gives their weights

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        require_weights(self, "l1", "coarse", "edges", "perceptual")


def l1(rebuilt: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the mean absolute difference of two arrays `[B, H, W, 3]`."""
    return jnp.abs(rebuilt - pixels).mean()


def coarse(rebuilt: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the mean absolute difference of the averages over cells of 8 x 8 pixels: brightness and color."""
    return jnp.abs(halved(halved(halved(rebuilt - pixels)))).mean()


def edges(rebuilt: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the mean absolute difference of neighboring-pixel differences, summed over full, half, quarter size."""
    error = rebuilt - pixels  # differences are linear: those of the error are the error of those
    total = jnp.zeros((), jnp.float32)
    for _ in range(3):
        total += jnp.abs(error[:, 1:] - error[:, :-1]).mean() + jnp.abs(error[:, :, 1:] - error[:, :, :-1]).mean()
        error = halved(error)
    return total
