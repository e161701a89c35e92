"""Options of the command `plan-training`. `longreel` builds the command line from them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import jax
from tyro.conf import OmitArgPrefixes

from schemas.errors import ConfigError
from schemas.storage.option import Address
from trainer.config import ATTENTION_METHODS, DTYPES, AttentionMethod, Dtype, MeshConfig, ModelConfig
from trainer.data.mixture import DatasetOption, directory_of
from trainer.data.shards import PackedSplit
from trainer.mesh import mesh_sizes
from trainer.planning.plan import TrainingPlan, Workload
from trainer.planning.report import lines_of
from trainer.run.config import Memory
from trainer.run.model_options import ModelOptions
from trainer.run.optimizer import OptimizerConfig
from trainer.run.speed import speed_of


@dataclass(frozen=True, kw_only=True)
class PlanTraining:
    """Estimate memory per device, operations and time of a training, without running it.

    The memory is an estimate, mostly within 15 % of what XLA allocates, but for two of the recipes that were measured
    far below it: see docs/models.md.
    """

    dataset: tuple[DatasetOption, ...] = ()
    """Packed dataset directories, or addresses of them, from which context and vocabulary are taken."""
    init_from: Address | None = None
    """Output folder of the run or of the imported model to start from, whose sizes are taken without a recipe."""
    context: int = 32_768
    """Tokens per sequence, unless a dataset is given."""
    text_size: int = 32_000
    """Number of text ids, unless a dataset is given."""
    vision_size: int = 8_194
    """Number of vision ids, unless a dataset is given."""
    document_length: float | None = None
    """Mean length of documents in tokens, which determines the work of attention. Default: the context."""
    batch_size: int = 8
    """Sequences per step, over all devices."""
    steps: int = 1000
    """Number of optimizer updates."""
    attention: AttentionMethod = "ring"
    """Context-parallel strategy, as of `train`."""
    dtype: Dtype | None = None
    """Type of activations. Default: the model's."""
    devices: int | None = None
    """Number of devices to plan for, which need not exist. Default: the product of the mesh axes, or what JAX finds."""
    flops_per_s: float | None = None
    """Speed of one device in matrix products, in FLOP/s. Default: measured here."""
    utilization: float | None = None
    """Share of that speed that a step reaches. Default: 0.5 where the CPU of this machine is measured, else 0.4."""
    memory: OmitArgPrefixes[Memory] = field(default_factory=Memory)
    model: ModelOptions = field(default_factory=ModelOptions)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        for name in ("context", "text_size", "batch_size", "steps", "devices", "document_length", "flops_per_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be positive, got {value}")
        if self.vision_size < 0:
            raise ConfigError(f"vision_size must not be negative, got {self.vision_size}")
        if self.utilization is not None and not 0 < self.utilization <= 1:
            raise ConfigError(f"utilization must lie between 0 and 1, got {self.utilization}")
        if self.attention not in ATTENTION_METHODS:
            raise ConfigError(f"attention must be one of {', '.join(ATTENTION_METHODS)}, got {self.attention!r}")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the plan."""
        config, work, devices = self._model(), self._work(), self._device_count()
        mesh = mesh_sizes(self.mesh, devices=devices)
        plan = TrainingPlan.of(config, mesh, work, self.optimizer)
        speed = speed_of(config.dtype, devices=devices, flops_per_s=self.flops_per_s, utilization=self.utilization)
        print("\n".join(lines_of(plan, config, mesh, work, steps=self.steps, speed=speed, settings=self.optimizer)))

    def _model(self) -> ModelConfig:
        config = self.model.configuration(init_from=self.init_from)
        return dataclasses.replace(
            config,
            attention=self.attention,
            dtype=self.dtype or config.dtype,
            remat=self.memory.remat,
            offload=self.memory.offload,
        )

    def _work(self) -> Workload:
        work = Workload(
            context=self.context,
            batch_size=self.batch_size,
            text_size=self.text_size,
            vision_size=self.vision_size,
            accumulate=self.memory.accumulate,
            document_length=self.document_length,
        )
        if not self.dataset:
            return work
        split = PackedSplit(tuple(map(directory_of, self.dataset)), "train")
        sizes = {"text_size": split.vocabulary.text_size, "vision_size": split.vocabulary.vision_size}
        return dataclasses.replace(work, context=split.context_length, **sizes)

    def _device_count(self) -> int:
        sizes = (self.mesh.data, self.mesh.fsdp, self.mesh.tensor, self.mesh.sequence)
        if self.devices is not None:
            return self.devices
        return jax.device_count() if -1 in sizes else math.prod(sizes)
