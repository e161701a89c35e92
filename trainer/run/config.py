"""Options of a training run. The command line of `longreel train` is generated from these fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from tyro.conf import OmitArgPrefixes

from schemas.errors import ConfigError
from schemas.storage.location import Location
from schemas.storage.option import Address, AddressOfFolder, NewFolder
from trainer.config import (
    ATTENTION_METHODS,
    DTYPES,
    REMATS,
    SOFTMAXES,
    AttentionMethod,
    Dtype,
    MeshConfig,
    ModelConfig,
    Remat,
    Softmax,
)
from trainer.data.batch_sizes import BatchSizeOption, BatchSizes
from trainer.data.layout import LAYOUTS, Layout
from trainer.data.mixture import DatasetOption, Mixture, MixtureOption, directory_of, mixtures_of
from trainer.run.divergence import Divergence
from trainer.run.group.distributed import Distributed
from trainer.run.model_options import ModelOptions
from trainer.run.optimizer import OptimizerConfig
from trainer.run.tracking import Tracking

Damaged = Literal["stop", "skip"]
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")  # a path has one slash less than the URL that it was made from


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """How often a run evaluates on held-out data and writes checkpoints."""

    eval_every: int = 50
    """Steps between evaluations on the split `val`; the run also evaluates before the first and after the last step.
    0 disables evaluation."""
    eval_sequences: int | None = None
    """Maximum number of held-out sequences to evaluate on, spread evenly over the split. Default: all."""
    checkpoint_every: int = 100
    """Steps between checkpoints. One is always written after the last step and when the run is interrupted."""
    checkpoints_kept: int = 3
    """Number of newest checkpoints to keep; older ones are deleted, except for those that the next options keep."""
    keep_every: int | None = None
    """Keep also the checkpoints whose step is a multiple of this."""
    keep_hours: float | None = None
    """Keep also one checkpoint for every so many hours."""
    keep_best: int = 0
    """Keep also this many checkpoints with the lowest held-out loss."""

    def __post_init__(self) -> None:
        if self.eval_every < 0:
            raise ConfigError(f"eval_every must not be negative, got {self.eval_every}; 0 means never")
        if self.keep_best < 0:
            raise ConfigError(f"keep_best must not be negative, got {self.keep_best}")
        if self.keep_hours is not None and not self.keep_hours > 0:
            raise ConfigError(f"keep_hours must be positive, got {self.keep_hours}")
        for name in ("eval_sequences", "checkpoint_every", "checkpoints_kept", "keep_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Ways to save memory at the cost of time. Results are the same up to rounding."""

    accumulate: int = 1
    """Number of micro-batches that a batch is split into. The gradient is that of the whole batch."""
    remat: Remat = "layer"
    """What the backward pass recomputes: full keeps the input of each layer only; layer also keeps the output of
    attention, which is not computed again; projections also keeps queries, keys and values."""
    offload: bool = False
    """Keep activations saved for the backward pass in host memory."""

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ConfigError(f"accumulate must be at least 1, got {self.accumulate}")
        if self.remat not in REMATS:
            raise ConfigError(f"remat must be one of {', '.join(REMATS)}, got {self.remat!r}")


@dataclass(frozen=True, kw_only=True)
class DataOrder:
    """How datasets are mixed and how often they are used."""

    mixture: tuple[MixtureOption, ...] = ()
    """Weights of the datasets, in the order of --dataset, by step: 0:0.9,0.1 1000:0.5,0.5 changes them at step 1000."""
    max_epochs: int | None = None
    """Maximum number of times that a sequence is used. A dataset with a weight that reaches it is left out from there
    on, with a warning; the run is refused if nothing would be left before its last step. Default: no maximum."""
    batch_ramp: tuple[BatchSizeOption, ...] = ()
    """Batch sizes from later steps on, such as 1000:16 2000:32; --batch-size is that of the first step. A batch is
    computed in more micro-batches of the first size, so the memory stays the same."""

    def __post_init__(self) -> None:
        if self.max_epochs is not None and self.max_epochs < 1:
            raise ConfigError(f"max_epochs must be at least 1, got {self.max_epochs}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a model on packed datasets. The same command resumes from the newest checkpoint in `out`."""

    dataset: tuple[DatasetOption, ...]
    """Packed dataset directories, of one context length and one vocabulary: paths, or addresses in S3 or Google Cloud
    Storage (s3://BUCKET/FOLDER, gs://BUCKET/FOLDER). With weights, such as videos:0.3 books:0.7, these shares of the
    sequences of a run are of each; without, every sequence is used once per epoch."""
    out: NewFolder
    """Output folder for checkpoints, metrics and configuration. A run that has checkpoints is resumed."""
    copy_to: AddressOfFolder | None = None
    """Folder in S3, Google Cloud Storage or the file system to which every checkpoint is copied while training
    continues, with the metrics. A run without a checkpoint in --out resumes from there, also on another machine."""
    steps: int = 0
    """Total number of optimizer updates; a resumed run makes the remaining ones. 0: as many as use the data four times,
    but at least 50 and at most 1000."""
    batch_size: int = 8
    """Sequences per step, over all devices."""
    seed: int = 0
    """Random seed for parameter initialization and data order."""
    init_from: Address | None = None
    """Output folder of another run or of import-model, or its address in a bucket, whose newest parameters initialize
    this one, for example to train at a longer context. Vocabulary and parameter shapes must match. Ignored once this
    run has a checkpoint."""
    softmax: Softmax | None = None
    """Ids that a target's probability is normalized over: joint (all ids) or by_modality (text ids for text, vision ids
    for vision, as in LWM). Default: the model's; by_modality for lwm_7b, joint for other recipes."""
    dtype: Dtype | None = None
    """Type of activations and matrix products: float32 or bfloat16; parameters and the optimizer's state are
    float32 unless `--optimizer` says otherwise. Default: the model's; bfloat16 for 1b, 7b and lwm_7b."""
    attention: AttentionMethod = "ring"
    """Context-parallel strategy over the mesh axis `sequence`: ring, all_gather or ulysses. Results are the same up to
    rounding; docs/training_runs.md says which to choose."""
    layout: Layout = "block_cyclic"
    """How the tokens of a sequence are distributed over the mesh axis `sequence`."""
    checkpoint_step: int | None = None
    """Step of the checkpoint to resume from; later ones are set aside. Default: the newest that is not damaged."""
    allow_changed: bool = False
    """Resume with other settings of optimizer, schedule, model, data or their order than those of the checkpoint."""
    damaged: Damaged = "stop"
    """What to do with a sequence whose bytes were altered since it was packed: stop the run, or skip the sequence. A
    skipped one is named and counted; the order of the others stays as it is."""
    devices: int | None = None
    """Number of virtual CPU devices to use in each process. Default: the devices that JAX finds."""
    data: OmitArgPrefixes[DataOrder] = field(default_factory=DataOrder)
    cadence: OmitArgPrefixes[Cadence] = field(default_factory=Cadence)
    memory: OmitArgPrefixes[Memory] = field(default_factory=Memory)
    model: ModelOptions = field(default_factory=ModelOptions)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    tracking: OmitArgPrefixes[Tracking] = field(default_factory=Tracking)
    divergence: OmitArgPrefixes[Divergence] = field(default_factory=Divergence)
    processes: OmitArgPrefixes[Distributed] = field(default_factory=Distributed)

    def __post_init__(self) -> None:
        if found := _URL.match(str(self.out)):
            raise ConfigError(
                f"out must be a folder of the file system, as checkpoints are written there, got an address with "
                f"{found[1]}://; --copy-to copies what is written there"
            )
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        if self.steps < 0:
            raise ConfigError(f"steps must not be negative, got {self.steps}; 0 means as many as fit the data")
        for name in ("batch_size", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.damaged not in get_args(Damaged):
            raise ConfigError(f"damaged must be stop or skip, got {self.damaged!r}")
        if self.attention not in ATTENTION_METHODS:
            raise ConfigError(f"attention must be one of {', '.join(ATTENTION_METHODS)}, got {self.attention!r}")
        if self.softmax is not None and self.softmax not in SOFTMAXES:
            raise ConfigError(f"softmax must be one of {', '.join(SOFTMAXES)}, got {self.softmax!r}")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.steps:
            self.optimizer.require_warmup(self.steps)
        mixtures_of(self.dataset, self.data.mixture)
        BatchSizes.of(self.batch_size, self.data.batch_ramp)
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"seed must lie in 0..2**32-1, got {self.seed}")

    def model_config(self) -> ModelConfig:
        """Return the model's configuration: see `ModelOptions`; this run's way of computing it comes on top.

        Without a recipe it reads the checkpoint of this run, or of `init_from`.
        """
        return self.computed(self.model.configuration(resumed=self.out, init_from=self.init_from))

    def computed(self, config: ModelConfig) -> ModelConfig:
        """Return `config` with this run's way of computing it."""
        return replace(
            config,
            softmax=self.softmax or config.softmax,
            dtype=self.dtype or config.dtype,
            attention=self.attention,
            remat=self.memory.remat,
            offload=self.memory.offload,
        )

    @property
    def directories(self) -> tuple[Location, ...]:
        """The directories of the datasets, without their weights."""
        return tuple(map(directory_of, self.dataset))

    @property
    def native_output(self) -> Path | None:
        """The folder for what native libraries print, None if it is not kept."""
        return self.out / "native-output" if self.processes.native_log else None

    @property
    def mixtures(self) -> tuple[Mixture, ...]:
        """The weights of the datasets by step; none if they have no weights."""
        return mixtures_of(self.dataset, self.data.mixture)

    @property
    def batch_sizes(self) -> BatchSizes:
        """The number of sequences of each step."""
        return BatchSizes.of(self.batch_size, self.data.batch_ramp)

    @property
    def rows(self) -> int:
        """Sequences per micro-batch, over all devices."""
        return self.batch_size // self.memory.accumulate
