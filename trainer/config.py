"""Settings that every model family shares, and the sizes of the device mesh.

A family's own configuration (`trainer/model/llama/config.py`, for example) extends `ModelConfig` with the shapes of its
parameters. The sizes of the two vocabularies belong to the dataset and are passed separately.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from schemas.errors import ConfigError
from schemas.field_types import require_types

# joint: one softmax over all ids. by_modality: text targets are normalized over text ids only and vision targets over
# vision ids only, as in LWM. The model then does not learn which modality comes next; the document grammar decides it.
Softmax = Literal["joint", "by_modality"]
SOFTMAXES: tuple[str, ...] = get_args(Softmax)
AttentionMethod = Literal["ring", "all_gather", "ulysses"]  # docs/training_runs.md: which to choose
ATTENTION_METHODS: tuple[str, ...] = get_args(AttentionMethod)
Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[str, ...] = get_args(Dtype)
# What the forward pass of a layer keeps for the backward pass, which recomputes the rest: its input (full), also the
# output of attention (layer), also queries, keys and values (projections).
Remat = Literal["full", "layer", "projections"]
REMATS: tuple[str, ...] = get_args(Remat)
Weights = Literal["params", "ema"]  # of a checkpoint: the trained parameters, or their moving average


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ABC):
    """Settings that every model family has. A subclass adds its parameter shapes and names them in `shape_fields`."""

    shape_fields: ClassVar[tuple[str, ...]]  # fields that determine the shapes of the parameters

    max_positions: int = 1 << 20  # longest document in tokens; later positions produce NaN
    softmax: Softmax = "joint"  # which ids the probability of a target is normalized over
    dtype: Dtype = "float32"  # of activations and matrix products; parameters are always float32
    attention: AttentionMethod = "ring"  # how attention is computed over the mesh axis `sequence`
    tile: int = 128  # side length of an attention block in tokens; also the loader's stripe width
    chunk: int = 256  # tokens per block in everything except attention
    remat: Remat = "layer"  # what is recomputed in the backward pass
    offload: bool = False  # keep saved activations in host memory until the backward pass

    def __post_init__(self) -> None:
        self.require_positive("max_positions", "tile", "chunk")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.remat not in REMATS:
            raise ConfigError(f"remat must be one of {', '.join(REMATS)}, got {self.remat!r}")
        if self.softmax not in SOFTMAXES:
            raise ConfigError(f"softmax must be one of {', '.join(SOFTMAXES)}, got {self.softmax!r}")
        if self.attention not in ATTENTION_METHODS:
            raise ConfigError(f"attention must be one of {', '.join(ATTENTION_METHODS)}, got {self.attention!r}")

    def require_positive(self, *names: str) -> None:
        """Raise ConfigError unless each of the named fields is at least 1."""
        for name in names:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the configuration from plain values, as `dataclasses.asdict` makes them.

        Fields that are missing have their defaults. Raises TypeError, ValueError or ConfigError for wrong values.
        """
        require_types(cls, values)
        return cls(**values)

    @abstractmethod
    def require_mesh(self, mesh: Mapping[str, int]) -> None:
        """Raise ConfigError unless the axis sizes of `mesh` divide the model's dims."""


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Number of devices along each mesh axis. At most one may be -1, which takes the remaining devices."""

    data: int = 1  # model replicas; each processes its own rows
    fsdp: int = 1  # also splits rows, and shards the weights
    tensor: int = 1  # attention heads and feed-forward columns
    sequence: int = -1  # tokens of a row, for context parallelism

    def __post_init__(self) -> None:
        sizes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor, "sequence": self.sequence}
        for name, size in sizes.items():
            if size < 1 and size != -1:
                raise ConfigError(f"mesh axis {name} must be at least 1, or -1 for the remaining devices; got {size}")
        if list(sizes.values()).count(-1) > 1:
            raise ConfigError(f"only one mesh axis may be -1, got {sizes}")
