"""Quantizers with initial variables and latents, for tests."""

from __future__ import annotations

import jax

from tests.support.vqgan.tiny_vqgan import TINY
from tokenizer.quantizers.base import Quantizer, Variables
from tokenizer.quantizers.fsq import FsqConfig
from tokenizer.quantizers.l2 import L2Config
from tokenizer.quantizers.registry import Quantizers

OPTIONS = Quantizers(fsq=FsqConfig(levels=(4, 4, 2)), l2=L2Config(dim=4))
KEY = jax.random.key(0)


def noise(*shape: int, seed: int = 0) -> jax.Array:
    """Return normally distributed float32 values."""
    return jax.random.normal(jax.random.key(seed), shape)


def initialized(name: str, *, count: int = 60, seed: int = 0) -> tuple[Quantizer, Variables, jax.Array]:
    """Return a quantizer, its initial variables, and `count` latents of its dimension."""
    quantizer = OPTIONS.get(name)
    model = quantizer.configure(TINY)
    latents = noise(count, model.latent_dim, seed=seed)
    return quantizer, quantizer.init(latents, KEY, codes=model.codebook_size, mean_count=2.0), latents
