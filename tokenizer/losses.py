"""Reconstruction losses, on pixels in [-1, 1].

No perceptual distance yet: VGG features on a CPU cost more than the whole small model. The edge loss is what
stands in for it: it asks for contours where they are, at three scales, which plain L1 blurs away first.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_SCALES = 3


def l1(rebuilt: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the mean absolute difference of two arrays `[B, H, W, 3]`."""
    return jnp.abs(rebuilt - pixels).mean()


def edges(rebuilt: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the mean absolute difference of neighbouring-pixel differences, summed over full, half, quarter size."""
    error = rebuilt - pixels  # differences are linear: those of the error are the error of those
    total = jnp.zeros((), jnp.float32)
    for scale in range(_SCALES):
        if scale:
            error = _halved(error)
        total += jnp.abs(error[:, 1:] - error[:, :-1]).mean() + jnp.abs(error[:, :, 1:] - error[:, :, :-1]).mean()
    return total


def _halved(x: jax.Array) -> jax.Array:
    """Average over cells of 2 x 2."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
