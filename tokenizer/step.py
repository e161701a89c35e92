"""One training step of a VQGAN: reconstruction and commitment by Adam, the codebook by moving averages.

`train_step(state, batch) -> (state, metrics)` is pure; all that changes is in `TrainState`. The gradient passes
the quantiser straight through (arXiv 1711.00937). No discriminator and no perceptual distance yet, so pictures
come out soft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from numpy.typing import NDArray

from schemas.errors import ConfigError
from tokenizer import losses, quantize
from tokenizer.checkpoint import Weights
from tokenizer.config import Compute, named
from tokenizer.crops import CropConfig
from tokenizer.losses import LossConfig
from tokenizer.quantize import EmaConfig, EmaState
from tokenizer.vqgan import abstract, init_params, to_unit

_INITIAL_LATENTS_PER_CODE = 4


@dataclass(frozen=True, kw_only=True)
class TokenizerTrainConfig:
    """One training run of a frame tokenizer."""

    model: str = "small-128"  # a name of tokenizer/config.py
    steps: int = 6000  # updates in all
    batch: int = 16  # crops a step
    learning_rate: float = 8e-4  # the peak; linear warmup, then cosine to a hundredth
    warmup_steps: int = 100  # over which the learning rate rises
    averaging: float = 0.998  # decay of the weights' moving average
    save_every: int = 250  # steps; metrics ten times as often
    compute: Compute = "float32"  # type of the convolutions; parameters are float32 always
    crop: CropConfig = field(default_factory=CropConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    quantizer: EmaConfig = field(default_factory=EmaConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.warmup_steps < self.steps:
            raise ConfigError(f"warmup_steps must be at least 0 and below steps={self.steps}, got {self.warmup_steps}")
        if not 0 <= self.averaging < 1:
            raise ConfigError(f"averaging must be in [0, 1), got {self.averaging}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.compute not in ("float32", "bfloat16"):
            raise ConfigError(f"compute must be float32 or bfloat16, got {self.compute!r}")
        if self.crop.size % losses.COARSEST:
            raise ConfigError(f"crop size must be a multiple of {losses.COARSEST}, got {self.crop.size}")
        named(self.model).grid(self.crop.size, self.crop.size)


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array  # int32
    params: nnx.State
    averaged: nnx.State  # moving average of params
    optimizer: optax.OptState
    quantizer: EmaState
    key: jax.Array


Metrics = dict[str, jax.Array]


def make_optimizer(config: TokenizerTrainConfig) -> optax.GradientTransformation:
    """Return Adam behind a clip of the global norm, with linear warmup and a cosine."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup_steps, config.steps, config.learning_rate / 100
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.9, b2=0.99))


def init_state(config: TokenizerTrainConfig, batches: Iterable[NDArray[np.uint8]]) -> TrainState:
    """Return the state before the first step: random weights, and a codebook drawn from the latents of `batches`."""
    model = named(config.model)
    params = init_params(model, config.seed)
    encode = jax.jit(lambda frames: nnx.merge(abstract(model)[0], params).latents(to_unit(frames)))
    latents: list[jax.Array] = []
    for batch in batches:
        latents.append(encode(jnp.asarray(batch)).reshape(-1, model.latent_dim))
        if sum(map(len, latents)) >= _INITIAL_LATENTS_PER_CODE * model.codebook_size:
            break
    key, draw = jax.random.split(jax.random.key(config.seed))
    uses = _mean_use(config)
    codebook = quantize.init_from_data(jnp.concatenate(latents), draw, codes=model.codebook_size, uses=uses)
    return _fresh(config, params, codebook, key)


def warm_state(config: TokenizerTrainConfig, weights: Weights) -> TrainState:
    """Return a state that begins at the weights and codebook of a checkpoint, with a new optimiser."""
    codebook = quantize.from_codebook(weights.codebook, uses=_mean_use(config))
    return _fresh(config, weights.params, codebook, jax.random.key(config.seed))


def _mean_use(config: TokenizerTrainConfig) -> float:
    """Return how many latents of a batch choose a code on average."""
    model = named(config.model)
    rows, columns = model.grid(config.crop.size, config.crop.size)
    return config.batch * rows * columns / model.codebook_size


def _fresh(config: TokenizerTrainConfig, params: nnx.State, codebook: EmaState, key: jax.Array) -> TrainState:
    averaged = jax.tree.map(jnp.copy, params)
    optimizer = make_optimizer(config).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, averaged, optimizer, codebook, key)


@lru_cache(maxsize=4)
def compiled_train_step(config: TokenizerTrainConfig) -> Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]:
    """Return `make_train_step` compiled, once for each configuration; it consumes the state that it is given."""
    return jax.jit(make_train_step(config), donate_argnums=0)


def make_train_step(
    config: TokenizerTrainConfig,
) -> Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]:
    """Return the pure step for a configuration: (state, uint8 `[B, H, W, 3]`) to (state, metrics); jit it."""
    graphdef, _ = abstract(named(config.model), config.compute)
    optimizer = make_optimizer(config)

    def loss_of(params: nnx.State, codebook: jax.Array, pixels: jax.Array) -> tuple[jax.Array, Any]:
        model = nnx.merge(graphdef, params)
        latents = model.latents(pixels)
        codes = quantize.nearest(latents.reshape(-1, latents.shape[-1]), codebook)
        chosen = codebook[codes].reshape(latents.shape)
        rebuilt = model.pixels(latents + jax.lax.stop_gradient(chosen - latents))
        terms = {
            "l1": losses.l1(rebuilt, pixels),
            "coarse": losses.coarse(rebuilt, pixels),
            "edges": losses.edges(rebuilt, pixels),
            "commitment": jnp.square(latents - chosen).mean(),
        }
        total = sum((getattr(config.loss, name) * term for name, term in terms.items()), jnp.zeros(()))
        squares = jnp.square(jnp.clip(rebuilt, -1, 1) - pixels).mean((1, 2, 3))
        terms |= {"loss": total, "psnr": (10 * jnp.log10(4.0 / jnp.maximum(squares, 1e-10))).mean()}
        return total, (terms, latents.reshape(-1, latents.shape[-1]), codes)

    def train_step(state: TrainState, batch: jax.Array) -> tuple[TrainState, Metrics]:
        grad = jax.grad(loss_of, has_aux=True)
        grads, (metrics, latents, codes) = grad(state.params, state.quantizer.codebook, to_unit(batch))
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to an int32 step count
            updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        key, draw = jax.random.split(state.key)
        quantizer, restarted = quantize.update(state.quantizer, latents, codes, draw, config=config.quantizer)
        # The average must forget the random beginning: its decay grows with the step up to the configured one.
        step = state.step.astype(jnp.float32)
        decay = jnp.minimum(config.averaging, (1.0 + step) / (10.0 + step))
        averaged = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.averaged, params)
        squares = sum((jnp.square(g).sum() for g in jax.tree.leaves(grads)), jnp.zeros(()))
        metrics |= {"restarted": restarted, "grad_norm": jnp.sqrt(squares)}
        metrics["used"] = jnp.zeros(quantizer.uses.shape, jnp.int32).at[codes].add(1)
        return TrainState(state.step + 1, params, averaged, optimizer_state, quantizer, key), metrics

    return train_step
