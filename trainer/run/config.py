"""What a training run is asked to do. The command line of `longreel train` is made from these fields."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from schemas.errors import ConfigError
from trainer.config import (
    ATTENTION_METHODS,
    SOFTMAXES,
    AttentionMethod,
    MeshConfig,
    ModelConfig,
    Softmax,
)
from trainer.data.layout import LAYOUTS, Layout
from trainer.model.registry import recipe
from trainer.run.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """How often a run looks at held-out data, and saves itself."""

    eval_every: int = 50
    """Steps between evaluations on the split `val`, which also come before the first step and after the last.
    0: never."""
    eval_sequences: int | None = None
    """Held-out sequences to evaluate on at most, spread evenly over the split. By default all."""
    checkpoint_every: int = 100
    """Steps between checkpoints; one is always made after the last step, and when a run is stopped."""
    checkpoints_kept: int = 3
    """How many checkpoints stay; older ones are removed."""

    def __post_init__(self) -> None:
        if self.eval_every < 0:
            raise ConfigError(f"eval_every must not be negative, got {self.eval_every}; 0 means never")
        for name in ("eval_sequences", "checkpoint_every", "checkpoints_kept"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a step may trade for memory. The result is the same but for rounding."""

    accumulate: int = 1
    """Micro-batches that a batch is computed as, one after another. The gradient is that of the whole batch."""
    offload: bool = False
    """Keep what every layer saves for backward in the memory of the host, where it is not the device's own."""

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ConfigError(f"accumulate must be at least 1, got {self.accumulate}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a model on packed datasets. The same command again goes on from the newest checkpoint in `out`."""

    dataset: tuple[Path, ...]
    """Packed dataset directories, of one context length and one vocabulary."""
    out: Path
    """Folder of the run: checkpoints, metrics, configuration. One that has checkpoints is gone on with."""
    model: str = "small"
    """Recipe of the model: debug, small or lwm_7b."""
    steps: int = 1000
    """Updates to make in all; a run that goes on makes those that are left."""
    batch_size: int = 8
    """Sequences in a step, over all devices."""
    seed: int = 0
    """Of the first parameters, and of the order of the data."""
    init_from: Path | None = None
    """Another run, whose newest parameters this one begins with: how the context grows. The vocabulary and the
    model's shape must be the same. Without effect once this run has a checkpoint of its own."""
    softmax: Softmax | None = None
    """Over which ids a target's probability is normed: joint (all), or by_modality (text ids for text, vision ids for
    vision, as in LWM). By default the recipe's; joint, but for lwm_7b."""
    attention: AttentionMethod = "ring"
    """How attention is computed over the devices of the axis `sequence`: ring, all_gather or ulysses. The result is the
    same but for rounding; `trainer/attention/context_parallel.py` says which to take when."""
    layout: Layout = "block_cyclic"
    """How a sequence is dealt to the devices of the mesh's axis `sequence`."""
    devices: int | None = None
    """Virtual CPU devices to compute on. By default the devices that JAX finds."""
    cadence: OmitArgPrefixes[Cadence] = field(default_factory=Cadence)
    memory: OmitArgPrefixes[Memory] = field(default_factory=Memory)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        recipe(self.model)
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        for name in ("steps", "batch_size", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.attention not in ATTENTION_METHODS:
            raise ConfigError(f"attention must be one of {', '.join(ATTENTION_METHODS)}, got {self.attention!r}")
        if self.softmax is not None and self.softmax not in SOFTMAXES:
            raise ConfigError(f"softmax must be one of {', '.join(SOFTMAXES)}, got {self.softmax!r}")
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"seed must lie in 0..2**32-1, got {self.seed}")

    @property
    def model_config(self) -> ModelConfig:
        """The recipe, with what this run changes of it."""
        config = recipe(self.model)
        softmax = self.softmax or config.softmax
        return replace(config, softmax=softmax, attention=self.attention, offload=self.memory.offload)

    @property
    def rows(self) -> int:
        """Sequences that are computed at once, over all devices."""
        return self.batch_size // self.memory.accumulate
