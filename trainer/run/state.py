"""The training state: initialized from a seed or from another run's parameters, or restored from a checkpoint.

The declarations of the weights determine the shapes, dtypes and shardings of a state before it exists; a `Plan` holds
them. A step can therefore be compiled, and a checkpoint restored, without initializing parameters first.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from schemas.vocab import Vocabulary
from trainer.config import Dtype, ModelConfig, Weights
from trainer.mesh import HOST_MEMORY, shardings
from trainer.model.protocol import Model
from trainer.model.registry import abstract, create
from trainer.run.checkpoint import Checkpoints, open_run
from trainer.run.description import Description
from trainer.run.optimizer import OptimizerConfig
from trainer.run.rounding import widened


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The values that a training step updates."""

    step: jax.Array  # number of updates so far, int32 scalar
    params: Any  # nnx.State of the model's parameters
    optimizer: Any  # the optimizer state of optax
    ema: Any = None  # the moving average of the parameters, float32; None without one


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The structure of a state: the model's graph, and a TrainState of jax.ShapeDtypeStruct with shardings."""

    graph: nnx.GraphDef[Model]
    like: TrainState
    mesh: Mesh

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        vocabulary: Vocabulary,
        *,
        optimizer: optax.GradientTransformation,
        mesh: Mesh,
        storage: OptimizerConfig | None = None,
    ) -> Plan:
        """Return the plan for a model of this configuration and vocabulary on `mesh`.

        `storage` says how the state is stored: in float32 without a moving average, by default.
        """
        about = storage or OptimizerConfig()
        graph, shapes = _abstract_model(config, vocabulary, mesh)
        moments = _placed(_in_dtype(jax.eval_shape(optimizer.init, shapes), about.state_dtype), mesh)
        like = TrainState(
            step=_placed(jax.eval_shape(lambda: jnp.int32(0)), mesh),
            params=_placed(_in_dtype(shapes, about.param_dtype), mesh),
            optimizer=_in_host_memory(moments) if about.offload else moments,
            ema=None if about.ema_decay is None else _placed(shapes, mesh),
        )
        return cls(graph=graph, like=like, mesh=mesh)

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of replicated values."""
        return NamedSharding(self.mesh, PartitionSpec())


def new_state(
    plan: Plan, config: ModelConfig, vocabulary: Vocabulary, *, optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """Initialize parameters from `seed`, identically on every mesh, and return the state at step 0."""
    model = create(
        config,
        text_size=vocabulary.text_size,
        vision_size=vocabulary.vision_size,
        mesh=plan.mesh,
        seed=seed,
    )
    return state_from_params(plan, nnx.split(model)[1], optimizer=optimizer)


def state_from_params(plan: Plan, params: Any, *, optimizer: optax.GradientTransformation) -> TrainState:
    """Return the state at step 0 with `params` and zero moments, which are sharded like their parameters."""

    def cast(x: jax.Array, like: Any) -> jax.Array:
        return x.astype(like.dtype)

    def made(params: Any) -> tuple[Any, Any, Any]:
        moments = jax.tree.map(cast, optimizer.init(widened(params)), plan.like.optimizer)
        ema = None if plan.like.ema is None else jax.tree.map(cast, params, plan.like.ema)
        return jax.tree.map(cast, params, plan.like.params), moments, ema

    like = (plan.like.params, plan.like.optimizer, plan.like.ema)
    return TrainState(_step(plan, 0), *jax.jit(made, out_shardings=jax.tree.map(lambda x: x.sharding, like))(params))


def resume(plan: Plan, checkpoints: Checkpoints, step: int) -> TrainState:
    """Restore the checkpoint of `step` on the plan's mesh; a moving average that it does not have begins there."""
    params = checkpoints.restore_params(step, plan.like.params)
    moments = checkpoints.restore_optimizer(step, plan.like.optimizer)
    ema = None
    if plan.like.ema is not None:
        ema = checkpoints.restore_params(step, plan.like.ema, weights="ema" if checkpoints.has_ema(step) else "params")
    return TrainState(_step(plan, step), params, moments, ema)


def load_params(plan: Plan, run: Path) -> Any:
    """Restore the parameters of another run's newest checkpoint on the plan's mesh.

    Their shapes must match the plan (`Description.require_shapes`); context length and rotary base may differ, which
    allows training to continue at a longer context. Raises ConfigError if `run` is not a training run, DatasetError if
    its checkpoint cannot be read.
    """
    with open_run(run) as checkpoints:
        return checkpoints.restore_params(checkpoints.newest(), plan.like.params)


def load_model(run: Path, *, mesh: Mesh, weights: Weights = "params") -> tuple[Model, Description]:
    """Restore the model of a run's newest checkpoint on `mesh`, without the optimizer; also return its description.

    `weights` chooses between the trained parameters and their moving average. Raises ConfigError if `run` is not a
    training run or has no moving average, DatasetError if its checkpoint cannot be read.
    """
    with open_run(run) as checkpoints:
        step = checkpoints.newest()
        description = checkpoints.describe(step)
        graph, shapes = _abstract_model(description.model, description.vocabulary, mesh)
        return nnx.merge(graph, checkpoints.restore_params(step, _placed(shapes, mesh), weights=weights)), description


def _abstract_model(config: ModelConfig, vocabulary: Vocabulary, mesh: Mesh) -> tuple[nnx.GraphDef[Model], Any]:
    return abstract(config, text_size=vocabulary.text_size, vision_size=vocabulary.vision_size, mesh=mesh)


def _placed(shapes: Any, mesh: Mesh) -> Any:
    def place(x: Any, sharding: NamedSharding) -> Any:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(place, shapes, shardings(shapes, mesh))


def _in_dtype(shapes: Any, dtype: Dtype) -> Any:
    """Return the shapes with this dtype in place of float32, but for leaves that are no parameters or moments."""

    def cast(variable: Any) -> Any:
        if not isinstance(variable, nnx.Variable):
            return variable
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), variable)

    return jax.tree.map(cast, shapes, is_leaf=lambda x: isinstance(x, nnx.Variable))


def _in_host_memory(moments: Any) -> Any:
    """Return the shapes with the host's memory as their place; counters stay on the devices."""

    def place(x: Any) -> Any:
        there = x.sharding.with_memory_kind(HOST_MEMORY) if x.ndim else x.sharding
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there)

    return jax.tree.map(place, moments)


def _step(plan: Plan, step: int) -> jax.Array:
    return jax.device_put(np.int32(step), plan.replicated)
