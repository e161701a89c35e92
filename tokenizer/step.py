"""One training step of a VQGAN: reconstruction and the quantiser's own loss by Adam.

`train_step(state, batch) -> (state, metrics)` is pure; all that changes is in `TrainState`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from numpy.typing import NDArray

from tokenizer import losses
from tokenizer.checkpoint import Weights
from tokenizer.quantize import Variables
from tokenizer.train_config import TokenizerTrainConfig
from tokenizer.vqgan import abstract, init_params, to_unit

_INITIAL_LATENTS_PER_CODE = 4


class Generator(NamedTuple):
    """What is trained by gradient to rebuild pictures."""

    params: nnx.State  # of `Vqgan`
    quantizer: Any  # `Variables.trained` of the quantiser


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array  # int32
    generator: Generator
    averaged: Generator  # moving average of `generator`
    optimizer: optax.OptState
    moved: Any  # `Variables.moved` of the quantiser
    key: jax.Array


Metrics = dict[str, jax.Array]


def make_optimizer(config: TokenizerTrainConfig) -> optax.GradientTransformation:
    """Return Adam behind a clip of the global norm, with linear warmup and a cosine."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup_steps, config.steps, config.learning_rate / 100
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.9, b2=0.99))


def init_state(config: TokenizerTrainConfig, batches: Iterable[NDArray[np.uint8]]) -> TrainState:
    """Return the state before the first step: random weights, and a codebook begun at the latents of `batches`."""
    model = config.model
    params = init_params(model, config.seed)
    encode = jax.jit(lambda frames: nnx.merge(abstract(model)[0], params).latents(to_unit(frames)))
    latents: list[jax.Array] = []
    for batch in batches:
        latents.append(encode(jnp.asarray(batch)).reshape(-1, model.latent_dim))
        if sum(map(len, latents)) >= _INITIAL_LATENTS_PER_CODE * model.codebook_size:
            break
    key, draw = jax.random.split(jax.random.key(config.seed))
    begun = config.codebook.init(jnp.concatenate(latents), draw, codes=model.codebook_size, mean_use=_mean_use(config))
    return _fresh(config, params, begun, key)


def warm_state(config: TokenizerTrainConfig, weights: Weights) -> TrainState:
    """Return a state that begins at the weights and codebook of a checkpoint, with a new optimiser."""
    begun = config.codebook.begin(weights.codebook, mean_use=_mean_use(config))
    return _fresh(config, weights.params, begun, jax.random.key(config.seed))


def weights_of(config: TokenizerTrainConfig, state: TrainState) -> Weights:
    """Return the averaged weights and the plain codebook that goes with them."""
    codebook = config.codebook.codebook(Variables(state.averaged.quantizer, state.moved))
    return Weights(config.model, state.averaged.params, codebook)


def _mean_use(config: TokenizerTrainConfig) -> float:
    """Return how many latents of a batch choose a code on average."""
    rows, columns = config.model.grid(config.crop.size, config.crop.size)
    return config.batch * rows * columns / config.model.codebook_size


def _fresh(config: TokenizerTrainConfig, params: nnx.State, begun: Variables, key: jax.Array) -> TrainState:
    generator = Generator(params, begun.trained)
    averaged = jax.tree.map(jnp.copy, generator)
    optimizer = make_optimizer(config).init(generator)
    return TrainState(jnp.zeros((), jnp.int32), generator, averaged, optimizer, begun.moved, key)


@lru_cache(maxsize=4)
def compiled_train_step(config: TokenizerTrainConfig) -> Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]:
    """Return `make_train_step` compiled, once for each configuration; it consumes the state that it is given."""
    return jax.jit(make_train_step(config), donate_argnums=0)


def make_train_step(
    config: TokenizerTrainConfig,
) -> Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]:
    """Return the pure step for a configuration: (state, uint8 `[B, H, W, 3]`) to (state, metrics); jit it."""
    graphdef, _ = abstract(config.model, config.compute)
    quantizer, optimizer = config.codebook, make_optimizer(config)

    def loss_of(generator: Generator, moved: Any, pixels: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        model = nnx.merge(graphdef, generator.params)
        latents = model.latents(pixels)
        rows = latents.reshape(-1, latents.shape[-1])
        quantized = quantizer.quantize(Variables(generator.quantizer, moved), rows, key)
        rebuilt = model.pixels(quantized.chosen.reshape(latents.shape))
        terms = {
            "l1": losses.l1(rebuilt, pixels),
            "coarse": losses.coarse(rebuilt, pixels),
            "edges": losses.edges(rebuilt, pixels),
        }
        total = sum((getattr(config.loss, name) * term for name, term in terms.items()), quantized.loss)
        squares = jnp.square(jnp.clip(rebuilt, -1, 1) - pixels).mean((1, 2, 3))
        terms |= {"loss": total, "psnr": (10 * jnp.log10(4.0 / jnp.maximum(squares, 1e-10))).mean()}
        return total, (terms | quantized.terms, quantized)

    def train_step(state: TrainState, batch: jax.Array) -> tuple[TrainState, Metrics]:
        key, draw = jax.random.split(state.key)
        grad = jax.grad(loss_of, has_aux=True)
        grads, (metrics, quantized) = grad(state.generator, state.moved, to_unit(batch), draw)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to an int32 step count
            updates, optimizer_state = optimizer.update(grads, state.optimizer, state.generator)
        generator = optax.apply_updates(state.generator, updates)
        # The average must forget the random beginning: its decay grows with the step up to the configured one.
        step = state.step.astype(jnp.float32)
        decay = jnp.minimum(config.averaging, (1.0 + step) / (10.0 + step))
        averaged = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.averaged, generator)
        squares = sum((jnp.square(g).sum() for g in jax.tree.leaves(grads)), jnp.zeros(()))
        metrics |= {"grad_norm": jnp.sqrt(squares)}
        metrics["used"] = jnp.zeros(config.model.codebook_size, jnp.int32).at[quantized.codes].add(1)
        return TrainState(state.step + 1, generator, averaged, optimizer_state, quantized.moved, key), metrics

    return train_step
