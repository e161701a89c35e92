"""The configuration of packing.

The modules in the order in which a job calls them: `length_histograms` counts the documents by length, `packing_plan`
assigns lengths to sequences, `plan` combines the packing plans of all splits, `assign` looks up the sequence of each
document, `shards` writes the sequences, and `commit` commits them as a dataset.
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
    """Attention mask: within the same document only, or over all earlier tokens of the sequence."""
    loss_weighting: LossWeighting = "token"
    """Weight every token equally in the loss, or every document equally regardless of its length."""
    text_weight: float = 1.0
    """Factor on the loss weight of text tokens."""
    vision_weight: float = 1.0
    """Factor on the loss weight of vision tokens."""
    sentence_reach: float = 1 / 2048
    """Maximum distance, as a fraction of the context, by which a cut in a book moves back to the end of a sentence.
    Up to this fraction of each sequence can stay empty. 0 cuts at any token."""
    shard_bytes: int = 512 << 20
    """Approximate size of a shard in bytes."""
    seed: int = 0
    """Random seed for shuffling the sequences and for sampling documents in the mixture."""

    def __post_init__(self) -> None:
        if self.loss_weighting not in ("token", "document"):
            raise ConfigError(f"loss_weighting must be 'token' or 'document', got {self.loss_weighting!r}")
        if self.attention not in ATTENTIONS:
            raise ConfigError(f"attention must be one of {', '.join(ATTENTIONS)}, got {self.attention!r}")
        for name in ("text_weight", "vision_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a finite number of at least 0, got {getattr(self, name)}")
        if self.text_weight == self.vision_weight == 0:
            raise ConfigError(
                "text_weight and vision_weight are both 0, so no token would have a loss; set at least one above 0"
            )
        if not 0 <= self.sentence_reach <= 0.25:
            raise ConfigError(f"sentence_reach must lie in 0..0.25, got {self.sentence_reach}")
        if self.shard_bytes < 1:
            raise ConfigError(f"shard_bytes must be at least 1, got {self.shard_bytes}")

    def reach(self, context_length: int) -> int:
        """Return the maximum number of tokens by which a cut moves back."""
        return int(self.sentence_reach * context_length)


def require_context(context_length: int) -> None:
    """Raise ConfigError if sequences of this length are not supported."""
    if not SHORTEST_CONTEXT <= context_length < 1 << 31:
        raise ConfigError(f"context_length must lie in {SHORTEST_CONTEXT}..{(1 << 31) - 1}, got {context_length}")
