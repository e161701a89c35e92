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
from trainer.config import ModelConfig
from trainer.mesh import shardings
from trainer.model.protocol import Model
from trainer.model.registry import abstract, create
from trainer.run.checkpoint import Checkpoints, open_run
from trainer.run.description import Description


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The values that a training step updates."""

    step: jax.Array  # number of updates so far, int32 scalar
    params: Any  # nnx.State of the model's parameters, float32
    optimizer: Any  # the optimizer state of optax


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The structure of a state: the model's graph, and a TrainState of jax.ShapeDtypeStruct with shardings."""

    graph: nnx.GraphDef[Model]
    like: TrainState
    mesh: Mesh

    @classmethod
    def of(
        cls, config: ModelConfig, vocabulary: Vocabulary, *, optimizer: optax.GradientTransformation, mesh: Mesh
    ) -> Plan:
        """Return the plan for a model of this configuration and vocabulary on `mesh`."""
        graph, shapes = _abstract_model(config, vocabulary, mesh)
        moments = jax.eval_shape(optimizer.init, shapes)
        like = TrainState(jax.eval_shape(lambda: jnp.int32(0)), shapes, moments)
        return cls(graph=graph, like=_placed(like, mesh), mesh=mesh)

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
    places = jax.tree.map(lambda x: x.sharding, plan.like.optimizer)
    moments = jax.jit(optimizer.init, out_shardings=places)(params)
    return TrainState(_step(plan, 0), params, moments)


def resume(plan: Plan, checkpoints: Checkpoints, step: int) -> TrainState:
    """Restore the checkpoint of `step` on the plan's mesh."""
    params = checkpoints.restore_params(step, plan.like.params)
    return TrainState(_step(plan, step), params, checkpoints.restore_optimizer(step, plan.like.optimizer))


def load_params(plan: Plan, run: Path) -> Any:
    """Restore the parameters of another run's newest checkpoint on the plan's mesh.

    Their shapes must match the plan (`Description.require_shapes`); context length and rotary base may differ, which
    allows training to continue at a longer context. Raises ConfigError if `run` is not a training run, DatasetError if
    its checkpoint cannot be read.
    """
    with open_run(run) as checkpoints:
        return checkpoints.restore_params(checkpoints.newest(), plan.like.params)


def load_model(run: Path, *, mesh: Mesh) -> tuple[Model, Description]:
    """Restore the model of a run's newest checkpoint on `mesh`, without the optimizer; also return its description.

    Raises ConfigError if `run` is not a training run, DatasetError if its checkpoint cannot be read.
    """
    with open_run(run) as checkpoints:
        step = checkpoints.newest()
        description = checkpoints.describe(step)
        graph, shapes = _abstract_model(description.model, description.vocabulary, mesh)
        return nnx.merge(graph, checkpoints.restore_params(step, _placed(shapes, mesh))), description


def _abstract_model(config: ModelConfig, vocabulary: Vocabulary, mesh: Mesh) -> tuple[nnx.GraphDef[Model], Any]:
    return abstract(config, text_size=vocabulary.text_size, vision_size=vocabulary.vision_size, mesh=mesh)


def _placed(shapes: Any, mesh: Mesh) -> Any:
    def place(x: Any, sharding: NamedSharding) -> Any:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(place, shapes, shardings(shapes, mesh))


def _step(plan: Plan, step: int) -> jax.Array:
    return jax.device_put(np.int32(step), plan.replicated)
