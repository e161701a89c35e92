"""A training step (gradient of the global batch's loss, then update) and an evaluation step.

Both are pure functions, which the loop compiles once:

    train_step(state, batch, limit) -> (state, metrics)
    eval_step(params, batch) -> sums

The static arguments (the model's graph, the optimizer) are keywords, to be bound with `functools.partial`.

A batch may be computed as several micro-batches, one after another. This takes the memory of one, and gradients are
accumulated in float32. The w·ce of each micro-batch is divided by the weight of the *whole* batch, which is computed
first, so the accumulated gradient is that of the whole batch even if the micro-batches have very different weights.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trainer.cpu_devices import compiler_options
from trainer.data.loader import BATCH_TYPES, Batch
from trainer.mesh import RULES, batch_sharding, shardings
from trainer.model.loss import LossSums, batch_sums
from trainer.model.protocol import Model
from trainer.run.rounding import narrowed, widened
from trainer.run.state import Plan, TrainState

_ROUNDING_SEED = 0  # of stochastic rounding; the step is folded in


class StepMetrics(NamedTuple):
    """Metrics of a training step; scalars, except for the sums by modality."""

    sums: LossSums
    applied: jax.Array  # bool: the update was made; see `train_step`
    gradient_norm: jax.Array  # before clipping
    parameter_norm: jax.Array
    learning_rate: jax.Array
    useful_tokens: jax.Array  # number of targets with a weight, int32
    tokens: jax.Array  # without padding, int32
    keys: jax.Array  # number of keys that these tokens may attend to, summed, float32


def train_step(
    state: TrainState,
    batch: Batch,
    limit: jax.Array,
    *,
    graph: nnx.GraphDef[Model],
    optimizer: optax.GradientTransformation,
    rate: optax.Schedule,
    mesh: Mesh,
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> tuple[TrainState, StepMetrics]:
    """Return the state after one update, and the metrics of the state before it.

    Where the loss is not finite, or the norm of the gradient not or above `limit` (float32 scalar), parameters and
    moments stay as they are. Counters advance, so that the schedule follows the number of steps.
    """
    gradient, sums = loss_gradient(state.params, batch, graph=graph, mesh=mesh, accumulate=accumulate)
    # The optimizer computes in float32, whatever the state is stored in.
    gradient, old, before = widened(gradient), widened(state.params), widened(_on_devices(state.optimizer, mesh))
    updates, after = optimizer.update(gradient, before, old)
    new = optax.apply_updates(old, updates)
    norm = optax.tree.norm(gradient)
    applied = jnp.isfinite(sums.ce) & (norm <= limit)  # a comparison with NaN is false

    def keep(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(applied, new, old) if jnp.issubdtype(new.dtype, jnp.inexact) else new

    def average(mean: jax.Array, new: jax.Array) -> jax.Array:
        return keep(mean, ema_decay * mean + (1 - ema_decay) * new)

    key = jax.random.fold_in(jax.random.key(_ROUNDING_SEED), state.step)
    for_params, for_moments = jax.random.split(key)
    params = narrowed(jax.tree.map(keep, old, new), like=state.params, key=for_params)
    moments = narrowed(jax.tree.map(keep, before, after), like=state.optimizer, key=for_moments)
    ema = None if state.ema is None else jax.tree.map(average, state.ema, widened(params))
    is_token = batch["segment_ids"] > 0
    metrics = StepMetrics(
        sums=sums,
        applied=applied,
        gradient_norm=norm,
        parameter_norm=optax.tree.norm(old),
        learning_rate=rate(state.step),
        useful_tokens=jnp.sum(batch["weights"] > 0, dtype=jnp.int32),
        tokens=jnp.sum(is_token, dtype=jnp.int32),
        keys=jnp.sum(jnp.where(is_token, batch["positions"] + 1, 0), dtype=jnp.float32),
    )
    return TrainState(state.step + 1, params, moments, ema), metrics


def loss_gradient(
    params: Any, batch: Batch, *, graph: nnx.GraphDef[Model], mesh: Mesh, accumulate: int
) -> tuple[Any, LossSums]:
    """Return the gradient of the batch's loss, a tree like `params`, and the sums of the loss.

    Devices sum it in float32, and so are micro-batches; it has the dtype of the parameters.
    """
    weight = batch["weights"].sum()
    weight = jnp.where(weight > 0, weight, 1.0)

    def share(params: Any, part: Batch) -> tuple[jax.Array, LossSums]:
        sums = batch_sums(nnx.merge(graph, params), part)
        return sums.ce / weight, sums

    gradient = jax.grad(share, has_aux=True)
    if accumulate == 1:
        return gradient(params, batch)

    def add(total: tuple[Any, LossSums], part: Batch) -> tuple[tuple[Any, LossSums], None]:
        return jax.tree.map(jnp.add, total, widened(gradient(params, part))), None

    parts = {name: micro_batches(x, mesh, count=accumulate) for name, x in batch.items()}
    zeros = jax.tree.map(partial(jnp.zeros_like, dtype=jnp.float32), params)
    zeros = jax.lax.with_sharding_constraint(zeros, shardings(params, mesh))
    nothing = LossSums(jnp.zeros(()), jnp.zeros(()), jnp.zeros(2), jnp.zeros(2))
    return jax.lax.scan(add, (zeros, nothing), parts)[0]


def micro_batches(x: jax.Array, mesh: Mesh, *, count: int) -> jax.Array:
    """Split rows [B,S] into micro-batches [count,B/count,S].

    Every micro-batch has rows of every device, so no data moves between devices.
    """
    rows, length = x.shape
    groups = math.prod(mesh.shape[axis] for axis in RULES["batch"])
    apart = jnp.einsum("gar...->agr...", x.reshape(groups, count, -1, length)).reshape(count, rows // count, length)
    spec = PartitionSpec(None, *batch_sharding(mesh).spec)
    return jax.lax.with_sharding_constraint(apart, NamedSharding(mesh, spec))


def eval_step(params: Any, batch: Batch, *, graph: nnx.GraphDef[Model], by_position: bool = False) -> LossSums:
    """Return the sums of a batch's loss, to be added to those of other batches."""
    return batch_sums(nnx.merge(graph, params), batch, by_position=by_position)


def _on_devices(moments: Any, mesh: Mesh) -> Any:
    """Return the optimizer's state in the memory of the devices; it may be stored in that of the host."""
    return jax.tree.map(jax.device_put, moments, shardings(moments, mesh))


def compile_step(
    plan: Plan,
    optimizer: optax.GradientTransformation,
    rate: optax.Schedule,
    *,
    shape: tuple[int, int],
    accumulate: int = 1,
    ema_decay: float | None = None,
) -> jax.stages.Compiled:
    """Compile `train_step` for batches of `shape` (B, S), each computed as `accumulate` micro-batches.

    The input state is donated: its memory is reused for the output.
    """
    places = jax.tree.map(lambda x: x.sharding, plan.like)
    step = jax.jit(
        partial(
            train_step,
            graph=plan.graph,
            optimizer=optimizer,
            rate=rate,
            mesh=plan.mesh,
            accumulate=accumulate,
            ema_decay=ema_decay or 0.0,
        ),
        donate_argnums=0,
        out_shardings=(places, plan.replicated),
        compiler_options=compiler_options(plan.mesh),
    )
    limit = jax.ShapeDtypeStruct((), jnp.float32, sharding=plan.replicated)
    return step.lower(plan.like, _batch_like(shape, plan.mesh), limit).compile()


def compile_eval(plan: Plan, *, shape: tuple[int, int], by_position: bool = False) -> jax.stages.Compiled:
    """Compile `eval_step` for batches of `shape` (B, S)."""
    step = jax.jit(
        partial(eval_step, graph=plan.graph, by_position=by_position),
        out_shardings=plan.replicated,
        compiler_options=compiler_options(plan.mesh),
    )
    return step.lower(plan.like.params, _batch_like(shape, plan.mesh)).compile()


def _batch_like(shape: tuple[int, int], mesh: Mesh) -> Batch:
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh)) for name, dtype in BATCH_TYPES.items()
    }
