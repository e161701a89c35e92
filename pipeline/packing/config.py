"""How documents are packed: the configuration.

The steps: `length_histograms` counts the documents by length, `packing_plan` assigns lengths to sequences, `plan` combines
the packing plans of all splits for the workers, `assign` finds the sequence of each document, `shards` writes the
sequences, and `commit` makes them a dataset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pipeline.packing.mixture import Mixture
from schemas.dataset import SHORTEST_CONTEXT, LossWeighting
from schemas.errors import ConfigError
from schemas.packed import ATTENTIONS, Attention


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """How documents are packed and weighted."""

    mixture: Mixture = field(default_factory=Mixture)
    attention: Attention = "document"
    """What a token attends to: its own document, or all of the sequence before it (for contexts of books and videos
    that belong together)."""
    loss_weighting: LossWeighting = "token"
    """What counts the same in the loss: every token, or every document however long."""
    text_weight: float = 1.0
    """Multiplies the loss weight of text."""
    vision_weight: float = 1.0
    """Multiplies the loss weight of frames."""
    sentence_reach: float = 1 / 2048
    """A book is cut at the end of a sentence where one is within this share of the context before the place that is
    full. That share of each sequence may stay empty for it; 0 cuts anywhere."""
    shard_bytes: int = 512 << 20
    """About how large a shard becomes."""
    seed: int = 0
    """Of the order of the sequences, and of what the mixture draws."""

    def __post_init__(self) -> None:
        if self.loss_weighting not in ("token", "document"):
            raise ConfigError(f"loss_weighting must be 'token' or 'document', got {self.loss_weighting!r}")
        if self.attention not in ATTENTIONS:
            raise ConfigError(f"attention must be one of {', '.join(ATTENTIONS)}, got {self.attention!r}")
        for name in ("text_weight", "vision_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a finite number of at least 0, got {getattr(self, name)}")
        if self.text_weight == self.vision_weight == 0:
            raise ConfigError("text_weight and vision_weight are both 0: nothing would be learned")
        if not 0 <= self.sentence_reach <= 0.25:
            raise ConfigError(f"sentence_reach must lie in 0..0.25, got {self.sentence_reach}")
        if self.shard_bytes < 1:
            raise ConfigError(f"shard_bytes must be at least 1, got {self.shard_bytes}")

    def reach(self, context_length: int) -> int:
        """Return by how many tokens a cut may move back."""
        return int(self.sentence_reach * context_length)


def require_context(context_length: int) -> None:
    """Raise ConfigError where no sequence can be that long."""
    if not SHORTEST_CONTEXT <= context_length < 1 << 31:
        raise ConfigError(f"context_length must lie in {SHORTEST_CONTEXT}..{(1 << 31) - 1}, got {context_length}")
