"""One training step of a VQGAN: Adam updates the generator, the quantizer its codebook, Adam the discriminator.

`train_step(state, batch, vgg) -> (state, metrics)` is pure; `TrainState` holds everything that changes. On several
devices the batch is split and the state replicated; XLA reduces over devices, so the result equals that of one device
up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from tokenizer import codec
from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.config import VqganConfig
from tokenizer.quantizers.base import Variables
from tokenizer.training import discriminator as patchgan
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.discriminator import LogitAverages
from tokenizer.training.generator import Generator, Metrics, generator_gradients
from tokenizer.training.metrics import CODE_COUNTS
from tokenizer.training.perceptual import Vgg
from tokenizer.vqgan.vqgan import abstract, init_params, to_unit

_INITIAL_LATENTS_PER_CODE = 4


class DiscriminatorState(NamedTuple):
    """The discriminator's part of the state."""

    params: nnx.State
    optimizer: optax.OptState
    averages: LogitAverages


class TrainState(NamedTuple):
    """Everything that a step changes."""

    step: jax.Array  # int32
    generator: Generator
    averaged: Generator  # exponential moving average of `generator`
    optimizer: optax.OptState
    quantizer_state: Any  # `Variables.state` of the quantizer
    discriminator: DiscriminatorState | None  # None if its weight is 0
    key: jax.Array


Step = Callable[[TrainState, jax.Array, Vgg | None], tuple[TrainState, Metrics]]


def make_optimizers(
    config: TokenizerTrainConfig,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Return the optimizers of generator and discriminator: norm clipping, Adam, linear warmup, cosine decay."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup_steps, config.steps, config.learning_rate / 100
    )
    start = config.discriminator.start  # at which its own count of steps is 0

    def delayed_rate(count: jax.Array) -> jax.Array:
        return rate(count + start)

    clip = optax.clip_by_global_norm(1.0)
    generator = optax.chain(clip, optax.adam(rate, b1=0.9, b2=0.99))
    return generator, optax.chain(clip, optax.adam(delayed_rate, b1=0.5, b2=0.9))


def init_state(config: TokenizerTrainConfig, batches: Iterable[NDArray[np.uint8]]) -> TrainState:
    """Return the initial state: random weights, and a codebook initialized from the latents of `batches`."""
    model = config.model
    params, encode = init_params(model, config.seed), _compiled_latents(model)
    latents: list[jax.Array] = []
    for batch in batches:
        latents.append(encode(params, jnp.asarray(batch)).reshape(-1, model.latent_dim))
        if sum(map(len, latents)) >= _INITIAL_LATENTS_PER_CODE * model.codebook_size:
            break
    return _init(config, params, jnp.concatenate(latents))


@lru_cache(maxsize=4)
def _compiled_latents(model: VqganConfig) -> Callable[[nnx.State, jax.Array], jax.Array]:
    return jax.jit(lambda params, frames: nnx.merge(abstract(model)[0], params).latents(to_unit(frames)))


def state_from_weights(config: TokenizerTrainConfig, weights: Weights) -> TrainState:
    """Return a state with the weights and codebook of a checkpoint, and new optimizers."""
    variables = config.codebook.init_from_codebook(weights.codebook, mean_count=_mean_count(config))
    return _new_state(config, weights.params, variables, jax.random.key(config.seed))


def abstract_state(config: TokenizerTrainConfig) -> TrainState:
    """Return the shapes and dtypes of a state without allocating it."""
    latents = jax.ShapeDtypeStruct((1, config.model.latent_dim), jnp.float32)
    return jax.eval_shape(partial(_init, config), abstract(config.model)[1], latents)


def weights_of(config: TokenizerTrainConfig, state: TrainState) -> Weights:
    """Return the averaged weights and the plain codebook that belongs to them."""
    codebook = config.codebook.codebook(Variables(state.averaged.quantizer, state.quantizer_state))
    return Weights(config.model, state.averaged.params, codebook)


def _mean_count(config: TokenizerTrainConfig) -> float:
    """Return how many latents of a batch are assigned to a code on average."""
    rows, columns = config.model.grid(config.crop.size, config.crop.size)
    return config.batch * rows * columns / config.model.codebook_size


def _init(config: TokenizerTrainConfig, params: nnx.State, latents: jax.Array) -> TrainState:
    key, codebook_key = jax.random.split(jax.random.key(config.seed))
    codes, mean_count = config.model.codebook_size, _mean_count(config)
    variables = config.codebook.init(latents, codebook_key, codes=codes, mean_count=mean_count)
    return _new_state(config, params, variables, key)


def _new_state(config: TokenizerTrainConfig, params: nnx.State, variables: Variables, key: jax.Array) -> TrainState:
    adversarial = config.discriminator.weight > 0
    critic = patchgan.init_params(config.discriminator, config.seed) if adversarial else None
    return _compiled_assemble(config)(params, variables, critic, key)


@lru_cache(maxsize=4)
def _compiled_assemble(config: TokenizerTrainConfig) -> Callable[..., TrainState]:
    return jax.jit(partial(_assemble, config))  # one compilation, not one per shape of a parameter


def _assemble(
    config: TokenizerTrainConfig, params: nnx.State, variables: Variables, critic: nnx.State | None, key: jax.Array
) -> TrainState:
    """Return the state; `critic` holds the discriminator's parameters."""
    generator = Generator(params, variables.params)
    first, second = make_optimizers(config)
    zeros = LogitAverages(jnp.zeros(()), jnp.zeros(()))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        averaged=jax.tree.map(jnp.copy, generator),
        optimizer=first.init(generator),
        quantizer_state=variables.state,
        discriminator=None if critic is None else DiscriminatorState(critic, second.init(critic), zeros),
        key=key,
    )


def make_mesh(devices: int) -> Mesh:
    """Return a mesh of the first `devices` devices, with one axis `data`."""
    return Mesh(np.array(jax.devices()[:devices]), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding that gives every device a copy."""
    return NamedSharding(mesh, PartitionSpec())


@lru_cache(maxsize=8)
def compiled_train_step(config: TokenizerTrainConfig, *, adversarial: bool, mesh: Mesh) -> Step:
    """Return the compiled `make_train_step`, cached by configuration; the step donates its state's buffers."""
    step = make_train_step(config, adversarial=adversarial)
    return jax.jit(step, donate_argnums=0, out_shardings=replicated(mesh))


def make_train_step(config: TokenizerTrainConfig, *, adversarial: bool) -> Step:
    """Return the pure step, not compiled: (state, uint8 `[B, H, W, 3]`, VGG or None) to (state, metrics).

    If it is not `adversarial`, the discriminator is neither evaluated nor updated.
    """
    optimizer, _ = make_optimizers(config)

    def train_step(state: TrainState, batch: jax.Array, vgg: Vgg | None = None) -> tuple[TrainState, Metrics]:
        key, quantizer_key = jax.random.split(state.key)
        pixels, critic = to_unit(batch), state.discriminator if adversarial else None
        found = generator_gradients(
            config,
            state.generator,
            state.quantizer_state,
            pixels,
            quantizer_key,
            vgg=vgg,
            discriminator=critic.params if critic else None,
        )
        generator, moments = _apply(optimizer, found.gradients, state.optimizer, state.generator)
        metrics = found.metrics
        metrics[CODE_COUNTS] = jnp.zeros(config.model.codebook_size, jnp.int32).at[found.quantized.codes].add(1)
        if critic:
            critic, terms = _update_discriminator(config, critic, pixels, found.reconstructed)
            metrics |= terms
        updated = TrainState(
            step=state.step + 1,
            generator=generator,
            averaged=_average(config, state, generator),
            optimizer=moments,
            quantizer_state=found.quantized.state,
            discriminator=critic or state.discriminator,
            key=key,
        )
        return updated, metrics

    return train_step


def _average(config: TokenizerTrainConfig, state: TrainState, generator: Generator) -> Generator:
    """Return the next moving average of the generator.

    Its decay grows with the step up to the configured one, so that the average forgets the random initialization.
    """
    step = state.step.astype(jnp.float32)
    decay = jnp.minimum(config.averaging, (1.0 + step) / (10.0 + step))
    averaged: Generator = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.averaged, generator)
    return averaged


def _update_discriminator(
    config: TokenizerTrainConfig, critic: DiscriminatorState, pixels: jax.Array, reconstructed: jax.Array
) -> tuple[DiscriminatorState, Metrics]:
    graphdef, _ = patchgan.abstract(config.discriminator, config.compute)
    gradient = jax.grad(patchgan.discriminator_loss, has_aux=True)
    grads, (averages, terms) = gradient(
        critic.params, graphdef, pixels, reconstructed, critic.averages, config.discriminator
    )
    _, optimizer = make_optimizers(config)
    return DiscriminatorState(*_apply(optimizer, grads, critic.optimizer, critic.params), averages), terms


def _apply(
    optimizer: optax.GradientTransformation, grads: Any, state: optax.OptState, values: Any
) -> tuple[Any, optax.OptState]:
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to the power of an int32 step count
        updates, state = optimizer.update(grads, state, values)
    return optax.apply_updates(values, updates), state


@lru_cache(maxsize=4)
def compiled_reconstruct(config: TokenizerTrainConfig) -> Callable[[Generator, Any, jax.Array], jax.Array]:
    """Return a compiled function (averaged weights, quantizer state, uint8 `[B, H, W, 3]`) to reconstructed frames."""
    return jax.jit(partial(_reconstruct, config))


def _reconstruct(
    config: TokenizerTrainConfig, averaged: Generator, quantizer_state: Any, batch: jax.Array
) -> jax.Array:
    codebook = config.codebook.codebook(Variables(averaged.quantizer, quantizer_state))
    graphdef, params = abstract(config.model, config.compute)[0], averaged.params
    codes = codec.encode(graphdef, config.model.lookup, params, codebook, batch)
    return codec.decode(graphdef, params, codebook, codes, grid=config.model.grid(*batch.shape[1:3]))
