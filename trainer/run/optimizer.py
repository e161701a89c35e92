"""The optimizer, with a schedule and gradient clipping. Its name is one of

    adamw      Loshchilov and Hutter, arXiv 1711.05101; two moments
    lion       Chen et al., arXiv 2302.06675; one moment. It wants a learning rate 3 to 10 times lower and a weight
               decay as much higher
    muon       Jordan 2024, as scaled in arXiv 2502.16982: the matrices of layers have one moment (0.95), and their
               updates are made orthogonal and scaled to the size of AdamW's, so it takes AdamW's learning rate. AdamW
               updates everything else: embeddings, heads, norms and biases

The learning rate rises linearly to its peak over the warm-up. From there to the end of the schedule it

    constant   stays
    cosine     follows half a cosine down to `final_fraction` of the peak
    linear     falls on a line to that
    wsd        stays, then falls on a line to that over the last steps (warm-up, stable, decay: arXiv 2404.06395)

and then stays constant. The gradient is clipped to a global norm of `clip_norm`. Weight decay does not apply to biases
and the scales of norms. Moments are shaped and sharded like the parameters. The optimizer computes in float32;
`state_dtype` and `param_dtype` say how its state and the parameters are stored between steps (`rounding.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from flax import nnx

from schemas.counted import counted
from schemas.errors import ConfigError
from trainer.config import DTYPES, Dtype

Schedule = Literal["constant", "cosine", "linear", "wsd"]
OptimizerName = Literal["adamw", "lion", "muon"]
_MUON_RMS = 0.2  # root mean square of AdamW's updates, to which Muon's are scaled
_WARMUP = 10  # steps, unless the configuration says how many


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer, its schedule, and how the training state is stored."""

    name: OptimizerName = "adamw"
    """adamw, lion, or muon (Muon for the matrices of layers, AdamW for the rest)."""
    learning_rate: float = 1e-3
    """Peak learning rate, reached after the warm-up."""
    schedule: Schedule = "cosine"
    """How the learning rate falls after the warm-up: constant, cosine, linear or wsd, which falls at the end."""
    warmup_steps: int | None = None
    """Steps over which the learning rate rises from 0. Default: 10, or half of the steps of a shorter schedule."""
    decay_steps: int | None = None
    """Step at which the schedule ends. Default: the last step of the run. Set it if you plan to extend the run later,
    so that the schedule of the first steps stays the same."""
    cooldown_fraction: float = 0.2
    """Share of the schedule, at its end, in which wsd lets the learning rate fall."""
    final_fraction: float = 0.1
    """Learning rate at the end of the schedule, as a fraction of the peak; constant ignores it."""
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
    ema_decay: float | None = None
    """Keep an exponential moving average of the parameters with this decay, such as 0.999, and evaluate with it. It is
    stored in checkpoints, in float32. Default: none."""
    state_dtype: Dtype = "float32"
    """Type in which the moments are stored; bfloat16 is rounded stochastically."""
    param_dtype: Dtype = "float32"
    """Type in which the parameters are stored; bfloat16 is rounded stochastically, without a copy in float32."""
    offload: bool = False
    """Keep the moments in host memory between updates."""

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise ConfigError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {self.schedule!r}")
        if self.name not in get_args(OptimizerName):
            raise ConfigError(f"name must be one of {', '.join(get_args(OptimizerName))}, got {self.name!r}")
        for name in ("state_dtype", "param_dtype"):
            if getattr(self, name) not in DTYPES:
                raise ConfigError(f"{name} must be one of {', '.join(DTYPES)}, got {getattr(self, name)!r}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ConfigError(f"ema_decay must lie between 0 and 1, got {self.ema_decay}")
        for name in ("learning_rate", "epsilon", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a positive number, got {getattr(self, name)}")
        for name in ("beta1", "beta2", "final_fraction", "cooldown_fraction"):
            if not 0 <= getattr(self, name) <= 1 or (name.startswith("beta") and getattr(self, name) == 1):
                raise ConfigError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay must not be negative, got {self.weight_decay}")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps must not be negative, got {self.warmup_steps}")
        if self.decay_steps is not None:
            if self.decay_steps < 1:
                raise ConfigError(f"decay_steps must be at least 1, got {self.decay_steps}")
            self.require_warmup(self.decay_steps)

    def require_warmup(self, steps: int) -> None:
        """Raise ConfigError unless the warm-up that is asked for fits into a run of `steps`."""
        end = self.decay_steps or steps
        if self.warmup_steps is not None and self.warmup_steps > end:
            what = "decay_steps" if self.decay_steps else "steps"
            raise ConfigError(
                f"warmup_steps = {self.warmup_steps} is more than {what} = {end}, so the learning rate would never "
                f"reach its peak: take at most {end}, leave warmup_steps out, or set decay_steps to the end of a "
                "longer schedule"
            )

    def warmup(self, steps: int) -> int:
        """Return the number of warm-up steps in a run of `steps`."""
        end = self.decay_steps or steps
        return min(_WARMUP, end // 2) if self.warmup_steps is None else self.warmup_steps

    def describe(self, steps: int) -> str:
        """Return the schedule of a run of `steps` in words."""
        end, peak = self.decay_steps or steps, f"{self.learning_rate:g}"
        then = f"{self.schedule} to {self.learning_rate * self.final_fraction:g} at step {end}"
        if self.schedule == "wsd":
            then = f"constant to step {self.cooldown_start(steps)}, {then}"
        after = "constant" if self.schedule == "constant" else then
        return f"learning rate: {counted(self.warmup(steps), 'step')} of warm-up to {peak}, {after}"

    def cooldown_start(self, steps: int) -> int:
        """Return the step from which wsd lets the learning rate of a run of `steps` fall."""
        end = self.decay_steps or steps
        return max(self.warmup(steps), end - round(self.cooldown_fraction * end))


def schedule(config: OptimizerConfig, *, steps: int) -> optax.Schedule:
    """Return the learning rate (float32 scalar) as a function of the number of updates so far (int32 scalar)."""
    end, warmup = config.decay_steps or steps, config.warmup(steps)
    start = config.cooldown_start(steps) if config.schedule == "wsd" else warmup
    final = config.learning_rate * config.final_fraction

    def rate(count: Any) -> jax.Array:
        step = jnp.asarray(count, jnp.float32)
        rising = config.learning_rate * (step + 1.0) / max(warmup, 1)
        progress = jnp.clip((step - start) / max(end - start, 1), 0.0, 1.0)
        falling = final + (config.learning_rate - final) * _remaining(config.schedule, progress)
        return jnp.where(step < warmup, rising, falling)

    return rate


def _remaining(schedule: Schedule, progress: jax.Array) -> jax.Array:
    """Return how much of the way from the final rate to the peak is left, from 1 to 0."""
    if schedule == "constant":
        return jnp.ones_like(progress)
    return 0.5 * (1.0 + jnp.cos(jnp.pi * progress)) if schedule == "cosine" else 1.0 - progress


def make_optimizer(config: OptimizerConfig, *, steps: int) -> optax.GradientTransformation:
    """Return the optimizer of a run of `steps`; the parameters are a tree of nnx.Param with `dims` metadata."""
    chain = optax.chain(optax.clip_by_global_norm(config.clip_norm), _by_name(config, schedule(config, steps=steps)))

    def update(gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
        # Adam's bias correction raises a float to an integer power, which strict dtype promotion rejects.
        with jax.numpy_dtype_promotion("standard"):
            updates, new = chain.update(gradient, state, params)
        return updates, new

    return optax.GradientTransformation(chain.init, update)


def _by_name(config: OptimizerConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    decay = {"weight_decay": config.weight_decay}
    if config.name == "lion":
        return optax.lion(rate, b1=config.beta1, b2=config.beta2, mask=is_decayed, **decay)
    adamw = optax.adamw(rate, b1=config.beta1, b2=config.beta2, eps=config.epsilon, mask=is_decayed, **decay)
    if config.name == "adamw":
        return adamw
    muon = optax.contrib.muon(
        rate, muon_weight_dimension_numbers=matrix_dims, consistent_rms=_MUON_RMS, weight_decay_mask=None, **decay
    )
    return optax.partition({"muon": muon, "adamw": adamw}, _labels)


def matrix_dims(params: Any) -> Any:
    """Return a tree like `params`: which axes of a layer's matrix are its inputs and outputs, None for the rest.

    A matrix has the dim "embed" on one side; the axes on the other side (heads and their width) are taken together.
    """

    def dims(variable: nnx.Variable[Any]) -> Any:
        about = variable.get_metadata()
        names = list(about["dims"])
        if names[0] != "layers" or "embed" not in names or not about["decayed"]:
            return jax.tree.map(lambda _: None, variable)
        stream, others = names.index("embed"), [i for i, n in enumerate(names) if n not in ("layers", "embed")]
        inputs, outputs = ((stream,), tuple(others)) if stream == 1 else (tuple(others), (stream,))
        return jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers(inputs, outputs), variable)

    return jax.tree.map(dims, params, is_leaf=lambda x: isinstance(x, nnx.Variable))


def _labels(params: Any) -> Any:
    def is_dims(x: Any) -> bool:
        return x is None or isinstance(x, optax.contrib.MuonDimensionNumbers)

    return jax.tree.map(lambda x: "adamw" if x is None else "muon", matrix_dims(params), is_leaf=is_dims)


def is_decayed(params: Any) -> Any:
    """Return a tree of bool like `params`: what each parameter's declaration says (`trainer.mesh.Weight`)."""

    def decayed(variable: nnx.Variable[Any]) -> Any:
        applies = variable.get_metadata()["decayed"]
        return jax.tree.map(lambda _: applies, variable)

    return jax.tree.map(decayed, params, is_leaf=lambda x: isinstance(x, nnx.Variable))
