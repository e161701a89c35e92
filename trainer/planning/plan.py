"""What a training run will take: parameters, memory per device, floating-point operations, and time.

Nothing is computed or allocated, so a plan for any number of devices is made on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, NamedSharding

from schemas.errors import ConfigError
from trainer.config import ModelConfig
from trainer.data.loader import BATCH_TYPES
from trainer.divisibility import require_context, require_rows
from trainer.mesh import partition
from trainer.model.protocol import Costs, StepMemory
from trainer.model.registry import abstract, family_of
from trainer.run.optimizer import OptimizerConfig, make_optimizer

_FLOAT = 4  # bytes
_TABLES = ("text_embedding", "vision_embedding", "text_head", "vision_head")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One step: its batch, the vocabulary, and the mean length of documents in tokens."""

    context: int
    batch_size: int
    text_size: int
    vision_size: int
    accumulate: int = 1
    document_length: float | None = None  # None: a document fills the context

    @property
    def tokens(self) -> int:
        """Tokens of a step, padding included."""
        return self.batch_size * self.context

    @property
    def mean_span(self) -> float:
        """The mean number of keys that a token attends to."""
        return (min(self.document_length or self.context, self.context) + 1) / 2


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Bytes on each device."""

    parameters: int
    optimizer: int
    batch: int
    gradients: int
    kept: int  # activations kept for the backward pass
    working: int
    offloaded: int  # kept in host memory instead
    average: int = 0  # of the parameters
    wide: int = 0  # the parameters in float32

    @property
    def state(self) -> int:
        """What exists before and after a step."""
        return self.parameters + self.optimizer + self.average + self.batch

    @property
    def temporary(self) -> int:
        """What a step allocates on top.

        XLA on CPUs copies the parameters, which the update replaces in place; during the update, when activations are
        gone, it holds a copy of them and of both moments.
        """
        return max(3 * self.wide, self.gradients + self.wide + self.kept + self.working)

    @property
    def total(self) -> int:
        """The peak."""
        return self.state + self.temporary


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The costs of a step of a model on a mesh."""

    parameters: int
    table_parameters: int  # embeddings and heads
    memory: DeviceMemory
    flops: float  # of a step on all devices
    attention_flops: float

    @classmethod
    def of(
        cls, config: ModelConfig, mesh: Mapping[str, int], work: Workload, settings: OptimizerConfig | None = None
    ) -> TrainingPlan:
        """Make the plan of a run with these settings of the optimizer; without them, the default ones.

        Raises ConfigError if mesh, model and batch do not fit together, as a run would.
        """
        costs, about = _costs(config), settings or OptimizerConfig()
        config.require_mesh(mesh)
        require_rows(work.batch_size, mesh, accumulate=work.accumulate)
        require_context(work.context, mesh, tile=config.tile)
        if work.context > config.max_positions:
            raise ConfigError(
                f"a context of {work.context} tokens is longer than the model's max_positions {config.max_positions}: "
                "set --model.max-positions"
            )
        sizes = {"text_size": work.text_size, "vision_size": work.vision_size}
        _, shapes = abstract(config, **sizes, mesh=None)
        rows = work.batch_size // work.accumulate // (mesh["data"] * mesh["fsdp"])
        tokens = rows * work.context // mesh["sequence"]
        during = costs.step_memory(config, mesh, tokens=tokens, ids=work.text_size + work.vision_size)
        flops, without = (
            work.tokens * costs.flops_per_token(config, **sizes, mean_span=span) for span in (work.mean_span, 0.0)
        )
        return cls(
            parameters=sum(x.size for x in jax.tree.leaves(shapes)),
            table_parameters=sum(math.prod(shapes[name].shape) for name in _TABLES if name in shapes),
            memory=_memory(shapes, about, during, mesh, tokens=tokens, accumulate=work.accumulate),
            flops=flops,
            attention_flops=flops - without,
        )


def _costs(config: ModelConfig) -> Costs:
    family = family_of(config)
    if family.costs is None:
        raise ConfigError(f"the model family {family.name} does not declare its costs, so it cannot be planned")
    return family.costs


def _memory(
    shapes: Any,
    settings: OptimizerConfig,
    during: StepMemory,
    mesh: Mapping[str, int],
    *,
    tokens: int,
    accumulate: int,
) -> DeviceMemory:
    """Return the memory of a device with parameters of these shapes, and `tokens` of a micro-batch.

    Gradients are there once. Where weights are split, the loop over layers holds them twice, and the sum over
    micro-batches is one more copy, in float32.
    """
    count = _elements_per_device(shapes, mesh)
    size, state_size = (np.dtype(jnp.dtype(kind)).itemsize for kind in (settings.param_dtype, settings.state_dtype))
    moments = jax.eval_shape(make_optimizer(settings, steps=1).init, shapes)
    optimizer = state_size * _elements_per_device(moments, mesh)
    per_token = sum(np.dtype(kind).itemsize for kind in BATCH_TYPES.values())
    return DeviceMemory(
        parameters=size * count,
        optimizer=0 if settings.offload else optimizer,
        batch=tokens * accumulate * per_token,
        gradients=(1 + (mesh["fsdp"] * mesh["sequence"] > 1)) * size * count + (accumulate > 1) * _FLOAT * count,
        kept=during.kept,
        working=during.working,
        offloaded=during.offloaded + (optimizer if settings.offload else 0),
        average=0 if settings.ema_decay is None else _FLOAT * count,
        wide=_FLOAT * count,
    )


def _elements_per_device(shapes: Any, mesh: Mapping[str, int]) -> int:
    """Return the number of values of the parameters, or of the moments, that a device stores."""
    sizes = AbstractMesh(tuple(mesh.values()), tuple(mesh))

    def elements(variable: Any) -> int:
        if not isinstance(variable, nnx.Variable) or not jax.tree.leaves(variable):  # a counter, or left out
            return 0
        shape = variable.get_value().shape
        spec = partition(variable.get_metadata()["dims"], shape, sizes)
        return math.prod(NamedSharding(sizes, spec).shard_shape(shape))

    return sum(map(elements, jax.tree.leaves(shapes, is_leaf=lambda x: isinstance(x, nnx.Variable))))
