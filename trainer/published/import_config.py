"""The options of an import."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from schemas.errors import ConfigError
from schemas.storage.option import Address, NewFolder
from trainer.config import MeshConfig


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Options of an import."""

    out: NewFolder
    """Output folder, to be given to `longreel train --init-from` and `longreel generate --model`."""
    dataset: Address | None = None
    """Packed dataset whose vocabulary the model gets: text rows are added or dropped, vision rows are new unless the
    source has them. Needed to train on that dataset."""
    vision_size: int | None = None
    """Number of vision codes, without a dataset. Default: those of the source; none if it has only text."""
    other_tokenizer: bool = False
    """Import although the dataset was encoded with another text tokenizer than the source's. Text rows keep their ids,
    which then stand for other pieces."""
    heads: int | None = None
    """Number of attention heads, for LWM's files, which do not contain it. Default: heads of 128."""
    rope_theta: float | None = None
    """Base of the rotary angles. Default: the source's; 5e7 for LWM's files, which do not contain it."""
    seed: int = 0
    """Random seed for new rows of tables."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """Mesh that the arrays are divided for, so that each device reads its own chunks. The import itself needs no
    devices, and the checkpoint can be restored on any mesh."""

    def __post_init__(self) -> None:
        if self.dataset is not None and self.vision_size is not None:
            raise ConfigError("give either --dataset or --vision-size: a dataset determines the number of vision codes")
        if self.vision_size is not None and self.vision_size < 0:
            raise ConfigError(f"vision_size must not be negative, got {self.vision_size}")
        if self.heads is not None and self.heads < 1:
            raise ConfigError(f"heads must be at least 1, got {self.heads}")
        if self.rope_theta is not None and not 1 < self.rope_theta < math.inf:
            raise ConfigError(f"rope_theta must be greater than 1, got {self.rope_theta}")
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"seed must lie in 0..2**32-1, got {self.seed}")
