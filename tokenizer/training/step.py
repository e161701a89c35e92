"""One training step of a VQGAN: the generator by Adam, its codebook as the quantizer wants it, then the discriminator.

`train_step(state, batch, vgg) -> (state, metrics)` is pure; all that changes is in `TrainState`. Over several devices
the batch is split and the state copied; XLA adds what belongs together, so the result is that of one device up to the
order of sums.
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
from tokenizer.quantizers.base import Variables
from tokenizer.training import discriminator
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.discriminator import Averages
from tokenizer.training.generator import Generator, Metrics, slopes
from tokenizer.training.perceptual import Vgg
from tokenizer.vqgan.vqgan import abstract, init_params, to_unit

_INITIAL_LATENTS_PER_CODE = 4


class Critic(NamedTuple):
    """The discriminator's side of the state."""

    params: nnx.State
    optimizer: optax.OptState
    averages: Averages


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array  # int32
    generator: Generator
    averaged: Generator  # moving average of `generator`
    optimizer: optax.OptState
    moved: Any  # `Variables.moved` of the quantizer
    critic: Critic | None  # None where its weight is 0
    key: jax.Array


Step = Callable[[TrainState, jax.Array, Vgg | None], tuple[TrainState, Metrics]]


def make_optimizers(
    config: TokenizerTrainConfig,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Return Adam for generator and discriminator: a clip of the global norm, linear warmup, a cosine."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup_steps, config.steps, config.learning_rate / 100
    )
    start = config.discriminator.start  # where its own count of steps begins

    def late(count: jax.Array) -> jax.Array:
        return rate(count + start)

    clip = optax.clip_by_global_norm(1.0)
    return optax.chain(clip, optax.adam(rate, b1=0.9, b2=0.99)), optax.chain(clip, optax.adam(late, b1=0.5, b2=0.9))


def init_state(config: TokenizerTrainConfig, batches: Iterable[NDArray[np.uint8]]) -> TrainState:
    """Return the state before the first step: random weights, and a codebook begun at the latents of `batches`."""
    model = config.model
    params = init_params(model, config.seed)
    encode = jax.jit(lambda params, frames: nnx.merge(abstract(model)[0], params).latents(to_unit(frames)))
    latents: list[jax.Array] = []
    for batch in batches:
        latents.append(encode(params, jnp.asarray(batch)).reshape(-1, model.latent_dim))
        if sum(map(len, latents)) >= _INITIAL_LATENTS_PER_CODE * model.codebook_size:
            break
    return _begin(config, params, jnp.concatenate(latents))


def warm_state(config: TokenizerTrainConfig, weights: Weights) -> TrainState:
    """Return a state that begins at the weights and codebook of a checkpoint, with new optimizers."""
    begun = config.codebook.begin(weights.codebook, mean_use=_mean_use(config))
    return _fresh(config, weights.params, begun, jax.random.key(config.seed))


def abstract_state(config: TokenizerTrainConfig) -> TrainState:
    """Return the shapes and types of a state, without allocating any."""
    latents = jax.ShapeDtypeStruct((1, config.model.latent_dim), jnp.float32)
    return jax.eval_shape(partial(_begin, config), abstract(config.model)[1], latents)


def weights_of(config: TokenizerTrainConfig, state: TrainState) -> Weights:
    """Return the averaged weights and the plain codebook that goes with them."""
    codebook = config.codebook.codebook(Variables(state.averaged.quantizer, state.moved))
    return Weights(config.model, state.averaged.params, codebook)


def _mean_use(config: TokenizerTrainConfig) -> float:
    """Return how many latents of a batch choose a code on average."""
    rows, columns = config.model.grid(config.crop.size, config.crop.size)
    return config.batch * rows * columns / config.model.codebook_size


def _begin(config: TokenizerTrainConfig, params: nnx.State, latents: jax.Array) -> TrainState:
    key, draw = jax.random.split(jax.random.key(config.seed))
    codes, mean_use = config.model.codebook_size, _mean_use(config)
    return _fresh(config, params, config.codebook.init(latents, draw, codes=codes, mean_use=mean_use), key)


def _fresh(config: TokenizerTrainConfig, params: nnx.State, begun: Variables, key: jax.Array) -> TrainState:
    has_critic = config.discriminator.weight > 0
    critic = discriminator.init_params(config.discriminator, config.seed) if has_critic else None
    return jax.jit(partial(_assembled, config))(params, begun, critic, key)  # one compilation, not one a shape


def _assembled(
    config: TokenizerTrainConfig, params: nnx.State, begun: Variables, critic: nnx.State | None, key: jax.Array
) -> TrainState:
    generator = Generator(params, begun.trained)
    first, second = make_optimizers(config)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        averaged=jax.tree.map(jnp.copy, generator),
        optimizer=first.init(generator),
        moved=begun.moved,
        critic=None if critic is None else Critic(critic, second.init(critic), Averages(jnp.zeros(()), jnp.zeros(()))),
        key=key,
    )


def make_mesh(devices: int) -> Mesh:
    """Return a mesh of the first `devices` devices, over which batches are split."""
    return Mesh(np.array(jax.devices()[:devices]), ("data",))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what every device has a copy of."""
    return NamedSharding(mesh, PartitionSpec())


@lru_cache(maxsize=8)
def compiled_train_step(config: TokenizerTrainConfig, *, adversarial: bool, mesh: Mesh) -> Step:
    """Return `make_train_step` compiled, once for each configuration; it consumes the state that it is given."""
    step = make_train_step(config, adversarial=adversarial)
    return jax.jit(step, donate_argnums=0, out_shardings=everywhere(mesh))


def make_train_step(config: TokenizerTrainConfig, *, adversarial: bool) -> Step:
    """Return the pure step: (state, uint8 `[B, H, W, 3]`, VGG or None) to (state, metrics); jit it.

    Where it is not adversarial the discriminator is not computed: it stays as it is, and changes nothing.
    """
    first, second = make_optimizers(config)
    graphdef, _ = discriminator.abstract(config.discriminator, config.compute)

    def train_step(state: TrainState, batch: jax.Array, vgg: Vgg | None = None) -> tuple[TrainState, Metrics]:
        key, draw = jax.random.split(state.key)
        pixels, critic = to_unit(batch), state.critic if adversarial else None
        found = slopes(
            config,
            state.generator,
            state.moved,
            pixels,
            draw,
            vgg=vgg,
            critic=critic.params if critic else None,
        )
        generator, optimizer = _apply(first, found.grads, state.optimizer, state.generator)
        # The average must forget the random beginning: its decay grows with the step up to the configured one.
        step = state.step.astype(jnp.float32)
        decay = jnp.minimum(config.averaging, (1.0 + step) / (10.0 + step))
        averaged = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.averaged, generator)
        metrics = found.metrics
        metrics["used"] = jnp.zeros(config.model.codebook_size, jnp.int32).at[found.quantized.codes].add(1)
        if critic:
            learn = jax.grad(discriminator.discriminator_loss, has_aux=True)
            grads, (averages, terms) = learn(
                critic.params, graphdef, pixels, found.rebuilt, critic.averages, config.discriminator
            )
            critic = Critic(*_apply(second, grads, critic.optimizer, critic.params), averages)
            metrics |= terms
        moved, critic = found.quantized.moved, critic or state.critic
        return TrainState(state.step + 1, generator, averaged, optimizer, moved, critic, key), metrics

    return train_step


def _apply(
    optimizer: optax.GradientTransformation, grads: Any, state: optax.OptState, values: Any
) -> tuple[Any, optax.OptState]:
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to an int32 step count
        updates, state = optimizer.update(grads, state, values)
    return optax.apply_updates(values, updates), state


@lru_cache(maxsize=4)
def compiled_show(config: TokenizerTrainConfig) -> Callable[[Generator, Any, jax.Array], jax.Array]:
    """Return a function from averaged weights, what the quantizer moved, and uint8 `[B, H, W, 3]` to rebuilt frames."""
    return jax.jit(partial(_show, config))


def _show(config: TokenizerTrainConfig, averaged: Generator, moved: Any, batch: jax.Array) -> jax.Array:
    codebook = config.codebook.codebook(Variables(averaged.quantizer, moved))
    graphdef, params = abstract(config.model, config.compute)[0], averaged.params
    codes = codec.encode(graphdef, config.model.lookup, params, codebook, batch)
    return codec.decode(graphdef, params, codebook, codes, grid=config.model.grid(*batch.shape[1:3]))
