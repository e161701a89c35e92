"""A VGG-16 with few channels and random weights, for the perceptual distance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokenizer.training import perceptual
from tokenizer.training.perceptual import Vgg

NARROW_BLOCKS = ((8, 8), (8, 8), (16, 16, 16), (16, 16, 16), (16, 16, 16))


def narrow_vgg(monkeypatch: pytest.MonkeyPatch) -> Vgg:
    """Return random weights of a VGG-16 with few channels, after setting its shapes in `perceptual`."""
    monkeypatch.setattr(perceptual, "BLOCKS", NARROW_BLOCKS)
    rng = np.random.default_rng(0)
    return {name: _random(rng, shape) for name, shape in perceptual.shapes().items()}


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> jax.Array:
    if len(shape) == 1:
        return jnp.zeros(shape)
    return jnp.asarray(rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[:-1])), jnp.float32)
