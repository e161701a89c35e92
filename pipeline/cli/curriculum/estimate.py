"""What the stages of a curriculum will take: tokens, memory of a device and time, computed without training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cli.curriculum.stages import TrainingStage
from schemas.dataset import read_card
from schemas.errors import DatasetError
from schemas.vocab import Vocabulary
from trainer.config import MeshConfig, ModelConfig
from trainer.mesh import mesh_sizes
from trainer.planning.plan import TrainingPlan, Workload
from trainer.run.speed import speed_of

_LWM = (32_000, 8_194)  # text and vision ids, to plan for where nothing is tokenized yet


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The devices to plan for: their number (None: the product of the mesh axes) and the FLOP/s of each in matrix
    products (None: measured on this machine), and the share of it that a step reaches (None: see `speed_of`)."""

    devices: int | None
    flops_per_s: float | None
    utilization: float | None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One stage."""

    stage: TrainingStage
    parameters: int
    sequences: int | None  # of its datasets for training; None if they are not packed yet
    tokens: int  # of all its steps
    device_bytes: int
    devices: int
    seconds: float

    @property
    def epochs(self) -> float | None:
        """How often its sequences are used on average."""
        return self.tokens / self.stage.data.context_length / self.sequences if self.sequences else None


def estimates(
    stages: Sequence[TrainingStage], hardware: Hardware, *, vocabulary: Vocabulary | None
) -> Iterator[Estimate]:
    """Yield an estimate for each stage. Raises ConfigError if model, mesh, batch and context do not fit together."""
    ids = (vocabulary.text_size, vocabulary.vision_size) if vocabulary else _LWM
    model: ModelConfig | None = None
    for stage in stages:
        model = _model(stage, previous=model)
        yield _estimate(stage, model, hardware, ids)


def _model(stage: TrainingStage, *, previous: ModelConfig | None) -> ModelConfig:
    options = stage.config.model
    if previous is None or options.recipe is not None:
        return stage.config.model_config()
    return stage.config.computed(options.applied(previous))


def _estimate(stage: TrainingStage, model: ModelConfig, hardware: Hardware, ids: tuple[int, int]) -> Estimate:
    config = stage.config
    devices = hardware.devices or _product(config.mesh)
    work = Workload(
        context=stage.data.context_length,
        batch_size=config.batch_size,
        text_size=ids[0],
        vision_size=ids[1],
        accumulate=config.memory.accumulate,
    )
    plan = TrainingPlan.of(model, mesh_sizes(config.mesh, devices=devices), work, config.optimizer)
    tokens = config.batch_sizes.samples(config.steps) * work.context
    speed = speed_of(model.dtype, devices=devices, flops_per_s=hardware.flops_per_s, utilization=hardware.utilization)
    return Estimate(
        stage=stage,
        parameters=plan.parameters,
        sequences=_sequences(stage),
        tokens=tokens,
        device_bytes=plan.memory.total,
        devices=devices,
        seconds=speed.seconds(tokens / work.tokens * plan.flops),
    )


def _product(mesh: MeshConfig) -> int:
    return math.prod(size for size in (mesh.data, mesh.fsdp, mesh.tensor, mesh.sequence) if size != -1)


def _sequences(stage: TrainingStage) -> int | None:
    try:
        cards = [read_card(directory) for directory in stage.config.directories]
    except DatasetError:  # not packed yet
        return None
    return sum(card.splits["train"].sequences for card in cards if "train" in card.splits)
