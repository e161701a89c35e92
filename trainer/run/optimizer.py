"""The optimizer: AdamW (Loshchilov and Hutter, arXiv 1711.05101) with warm-up, cosine decay and gradient clipping.

The learning rate rises linearly to its peak over `warmup_steps`, follows half a cosine down to `final_fraction` of the
peak at `decay_steps`, and then stays constant. The gradient is clipped to a global norm of `clip_norm`. Weight decay
does not apply to biases and the scales of norms. Moments are float32, shaped and sharded like the parameters.
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
    """Step at which the cosine decay ends. Default: the last step of the run. Set it if you plan to extend the run
    later, so that the schedule of the first steps stays the same."""
    final_fraction: float = 0.1
    """Learning rate at the end of the cosine, as a fraction of the peak."""
    beta1: float = 0.9
    """Decay rate of the mean of gradients."""
    beta2: float = 0.95
    """Decay rate of the mean of squared gradients."""
    epsilon: float = 1e-8
    """Added to the root of the mean of squared gradients."""
    weight_decay: float = 0.1
    """Weight decay, multiplied by the learning rate; biases and the scales of norms are exempt."""
    clip_norm: float = 1.0
    """Maximum global norm of the gradient; larger gradients are scaled down to it."""

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
    """Return the learning rate (float32 scalar) as a function of the number of updates so far (int32 scalar)."""
    end = config.decay_steps or steps
    # A run shorter than its warm-up would otherwise never reach the peak.
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
    """Return the optimizer of a run of `steps`; the parameters are a tree of nnx.Param with `dims` metadata."""
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
        # Adam's bias correction raises a float to an integer power, which strict dtype promotion rejects.
        with jax.numpy_dtype_promotion("standard"):
            updates, new = chain.update(gradient, state, params)
        return updates, new

    return optax.GradientTransformation(chain.init, update)


def is_decayed(params: Any) -> Any:
    """Return a tree of bool like `params`: what each parameter's declaration says (`trainer.mesh.Weight`)."""

    def decayed(variable: nnx.Variable[Any]) -> Any:
        applies = variable.get_metadata()["decayed"]
        return jax.tree.map(lambda _: applies, variable)

    return jax.tree.map(decayed, params, is_leaf=lambda x: isinstance(x, nnx.Variable))
