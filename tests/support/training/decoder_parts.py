"""A decoder that has every part that only some published models have, with numbers that let no part cancel out."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from flax import nnx

from trainer.model.llama.config import debug
from trainer.model.llama.rope_scaling import RopeScaling
from trainer.model.llama.transformer import Transformer

EVERY_PART = dataclasses.replace(
    debug(),
    head_dim=16,
    norm_eps=1e-2,
    qkv_bias=True,
    output_bias=True,
    qk_norm=True,
    tied_heads=True,
    rope_scaling=RopeScaling(kind="yarn", factor=4.0, original_positions=32),
)


def shaken(model: Transformer) -> Transformer:
    """Return the model with random biases and scales of norms, which are 0 and 1 at first."""
    rng = np.random.default_rng(5)
    graph, params = nnx.split(model)

    def moved(x: jax.Array) -> jax.Array:
        return x + rng.normal(0, 0.1, x.shape).astype(np.float32)

    return nnx.merge(graph, jax.tree.map(moved, params))
