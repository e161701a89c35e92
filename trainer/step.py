"""One step: the gradient of the global batch's loss, and the update. Pure functions, compiled once by the loop.

    train_step(state, batch) -> (state, metrics)
    eval_step(params, batch) -> sums

Both take the static parts (the model's graph, the optimiser) as keywords, to be bound with `functools.partial`.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from trainer.data import Batch
from trainer.loss import LossSums, batch_loss
from trainer.mesh import shardings
from trainer.model import Transformer


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What changes from step to step."""

    step: jax.Array  # updates made, int32 scalar
    params: Any  # nnx.State of the model's parameters, float32
    optimiser: Any  # optax' state


class StepMetrics(NamedTuple):
    """What a step measured; scalars, but for the sums by modality."""

    sums: LossSums
    gradient_norm: jax.Array  # before it was limited
    learning_rate: jax.Array
    useful_tokens: jax.Array  # targets that have a weight, int32


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    graph: nnx.GraphDef[Transformer],
    optimiser: optax.GradientTransformation,
    rate: optax.Schedule,
) -> tuple[TrainState, StepMetrics]:
    """Return the state after one update, and what was measured before it."""

    def loss(params: Any) -> tuple[jax.Array, LossSums]:
        return batch_loss(nnx.merge(graph, params), batch)

    (_, sums), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    updates, moments = optimiser.update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = StepMetrics(
        sums=sums,
        gradient_norm=optax.global_norm(gradient),
        learning_rate=rate(state.step),
        useful_tokens=jnp.sum(batch["weights"] > 0, dtype=jnp.int32),
    )
    return TrainState(state.step + 1, params, moments), metrics


def eval_step(params: Any, batch: Batch, *, graph: nnx.GraphDef[Transformer]) -> LossSums:
    """Return the sums of a batch's loss, to be added to those of other batches."""
    return batch_loss(nnx.merge(graph, params), batch)[1]


def init_state(params: Any, optimiser: optax.GradientTransformation) -> TrainState:
    """Return the state before the first step; the moments lie where their parameters do."""
    sharding = jax.tree.leaves(params)[0].sharding
    moments = jax.jit(optimiser.init, out_shardings=shardings(jax.eval_shape(optimiser.init, params), sharding.mesh))
    return TrainState(_replicated(jnp.int32(0), sharding.mesh), params, moments(params))
