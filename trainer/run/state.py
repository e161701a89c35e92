"""The state of training, and the three places it comes from: made anew, another run's parameters, a checkpoint.

A state's shapes, types and shardings are known before it exists, from the declarations of the weights: a `Plan`. So a
step can be compiled, and a checkpoint restored, without making parameters first.

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
from trainer.run.checkpoint import Checkpoints, Description, open_run


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What changes from step to step."""

    step: jax.Array  # updates made, int32 scalar
    params: Any  # nnx.State of the model's parameters, float32
    optimizer: Any  # optax' state


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A state before it exists: the model's graph, and a TrainState of jax.ShapeDtypeStruct with shardings."""

    graph: nnx.GraphDef[Model]
    like: TrainState
    mesh: Mesh

    @classmethod
    def of(
        cls, config: ModelConfig, vocabulary: Vocabulary, *, optimizer: optax.GradientTransformation, mesh: Mesh
    ) -> Plan:
        """Plan the state of a model of this vocabulary on `mesh`."""
        graph, shapes = _abstract_model(config, vocabulary, mesh)
        moments = jax.eval_shape(optimizer.init, shapes)
        like = TrainState(jax.eval_shape(lambda: jnp.int32(0)), shapes, moments)
        return cls(graph=graph, like=_placed(like, mesh), mesh=mesh)

    @property
    def everywhere(self) -> NamedSharding:
        """The sharding of what every device has a copy of."""
        return NamedSharding(self.mesh, PartitionSpec())


def new_state(
    plan: Plan, config: ModelConfig, vocabulary: Vocabulary, *, optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """Make parameters from `seed`, the same on any mesh, and start at step 0."""
    model = create(
        config,
        text_size=vocabulary.text_size,
        vision_size=vocabulary.vision_size,
        mesh=plan.mesh,
        seed=seed,
    )
    return begin(plan, nnx.split(model)[1], optimizer=optimizer)


def begin(plan: Plan, params: Any, *, optimizer: optax.GradientTransformation) -> TrainState:
    """Start at step 0 from `params`, with moments of 0 that lie where their parameters do."""
    places = jax.tree.map(lambda x: x.sharding, plan.like.optimizer)
    moments = jax.jit(optimizer.init, out_shardings=places)(params)
    return TrainState(_step(plan, 0), params, moments)


def resume(plan: Plan, checkpoints: Checkpoints, step: int) -> TrainState:
    """Return the state that the checkpoint of `step` holds, on the plan's mesh."""
    params = checkpoints.restore_params(step, plan.like.params)
    return TrainState(_step(plan, step), params, checkpoints.restore_optimizer(step, plan.like.optimizer))


def take_over(plan: Plan, run: Path) -> Any:
    """Return the parameters of another run's newest checkpoint, on the plan's mesh.

    Their shapes must be the plan's (`Description.require_shapes`); context length and rotary base may differ, which is
    how context grows. Raises ConfigError where `run` is not a run, DatasetError where its checkpoint cannot be read.
    """
    with open_run(run) as checkpoints:
        return checkpoints.restore_params(checkpoints.newest(), plan.like.params)


def load_model(run: Path, *, mesh: Mesh) -> tuple[Model, Description]:
    """Return the model of a run's newest checkpoint on `mesh`, without its optimizer, and what it was trained on.

    Raises ConfigError where `run` is not a run, DatasetError where its checkpoint cannot be read.
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
    return jax.device_put(np.int32(step), plan.everywhere)
