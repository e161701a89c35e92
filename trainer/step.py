"""One step: the gradient of the global batch's loss, and the update. Pure functions, compiled once by the loop.

    train_step(state, batch) -> (state, metrics)
    eval_step(params, batch) -> sums

Both take the static parts (the model's graph, the optimiser) as keywords, to be bound with `functools.partial`.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from trainer.data import BATCH_TYPES, Batch
from trainer.loss import LossSums, batch_loss
from trainer.mesh import batch_sharding
from trainer.model import Transformer
from trainer.state import Plan, TrainState


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
        gradient_norm=optax.tree.norm(gradient),
        learning_rate=rate(state.step),
        useful_tokens=jnp.sum(batch["weights"] > 0, dtype=jnp.int32),
    )
    return TrainState(state.step + 1, params, moments), metrics


def eval_step(params: Any, batch: Batch, *, graph: nnx.GraphDef[Transformer]) -> LossSums:
    """Return the sums of a batch's loss, to be added to those of other batches."""
    return batch_loss(nnx.merge(graph, params), batch)[1]


def compile_step(
    plan: Plan, optimiser: optax.GradientTransformation, rate: optax.Schedule, *, shape: tuple[int, int]
) -> Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]:
    """Compile `train_step` for batches of `shape` (B, S). The state that goes in is used up: its memory is reused."""
    places = jax.tree.map(lambda x: x.sharding, plan.like)
    step = jax.jit(
        partial(train_step, graph=plan.graph, optimiser=optimiser, rate=rate),
        donate_argnums=0,
        out_shardings=(places, plan.everywhere),
    )
    return step.lower(plan.like, _batch_like(shape, plan.mesh)).compile()


def compile_eval(plan: Plan, *, shape: tuple[int, int]) -> Callable[[Any, Batch], LossSums]:
    """Compile `eval_step` for batches of `shape` (B, S)."""
    step = jax.jit(partial(eval_step, graph=plan.graph), out_shardings=plan.everywhere)
    return step.lower(plan.like.params, _batch_like(shape, plan.mesh)).compile()


def _batch_like(shape: tuple[int, int], mesh: Mesh) -> Batch:
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh)) for name, dtype in BATCH_TYPES.items()
    }
