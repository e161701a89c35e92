"""The optimizer: AdamW (Loshchilov and Hutter, arXiv 1711.05101), warm-up, cosine decay, a limit on the gradient.

The learning rate rises linearly to its peak over `warmup_steps`, then falls along half a cosine to `final_fraction` of
it at `decay_steps`, and stays there. The gradient is scaled down where its norm over all parameters is above
`clip_norm`. Norms' scales are not decayed. Moments are float32, in the image of the parameters, and split like them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its schedule."""

    learning_rate: float = 1e-3
    """Peak learning rate, reached after the warm-up."""
    warmup_steps: int = 10
    """Steps over which the learning rate rises from 0."""
    decay_steps: int | None = None
    """Step at which the cosine has reached its end; by default the last of the run. Name it where you mean to extend
    a run later: the schedule of the steps already made is then the same."""
    final_fraction: float = 0.1
    """Learning rate at the end of the cosine, as a fraction of the peak."""
    beta1: float = 0.9
    """Decay of the mean of gradients."""
    beta2: float = 0.95
    """Decay of the mean of squared gradients."""
    epsilon: float = 1e-8
    """Added to the root of the mean of squared gradients."""
    weight_decay: float = 0.1
    """Pull of weights towards 0, times the learning rate; norms are exempt."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient; longer ones are scaled down to it."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epsilon", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a positive number, got {getattr(self, name)}")
        for name in ("beta1", "beta2", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1 or (name != "final_fraction" and getattr(self, name) == 1):
                raise ConfigError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay must not be negative, got {self.weight_decay}")
        if self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps must not be negative, got {self.warmup_steps}")
        if self.decay_steps is not None and self.decay_steps < max(1, self.warmup_steps):
            raise ConfigError(
                f"decay_steps must be at least warmup_steps ({self.warmup_steps}), got {self.decay_steps}"
            )


def schedule(config: OptimizerConfig, *, steps: int) -> optax.Schedule:
    """Return the learning rate (float32 scalar) as a function of the updates made before (int32 scalar)."""
    end = config.decay_steps or steps
    # A run shorter than its warm-up would otherwise never get to where it learns.
    warmup = min(config.warmup_steps, end // 2)
    final = config.learning_rate * config.final_fraction

    def rate(count: Any) -> jax.Array:
        step = jnp.asarray(count, jnp.float32)
        rising = config.learning_rate * (step + 1.0) / max(warmup, 1)
        progress = jnp.clip((step - warmup) / max(end - warmup, 1), 0.0, 1.0)
        falling = final + (config.learning_rate - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
        return jnp.where(step < warmup, rising, falling)

    return rate


def make_optimizer(config: OptimizerConfig, *, steps: int) -> optax.GradientTransformation:
    """Return the optimizer of a run of `steps`; its parameters are a tree of nnx.Param that carry `dims`."""
    chain = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            schedule(config, steps=steps),
            b1=config.beta1,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask=is_decayed,
        ),
    )

    def update(gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
        # Adam's bias correction raises a float to an integer power, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, new = chain.update(gradient, state, params)
        return updates, new

    return optax.GradientTransformation(chain.init, update)


def is_decayed(params: Any) -> Any:
    """Tell matrices, which are decayed, from the vectors of norms: a tree of bool in the image of `params`.

    Layers are stacked, so a norm's scales may well be an array of two dims; their names tell.
    """

    def decayed(variable: nnx.Variable[Any]) -> Any:
        dims = [dim for dim in variable.get_metadata()["dims"] if dim != "layers"]
        return jax.tree.map(lambda _: len(dims) > 1, variable)

    return jax.tree.map(decayed, params, is_leaf=lambda x: isinstance(x, nnx.Variable))
