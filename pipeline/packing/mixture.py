"""The mixture: how many copies of each document a dataset contains.

A training document is packed `epochs` times: the epochs of its kind times those of its source, times a factor for text
if a share of text is requested. The fractional part of `epochs` is the share of the documents that get one more copy.
They are sampled by a hash of their ids, so the sample does not depend on the workers or the order of the documents.
Held-out documents are packed once, so that losses on them can be compared between mixtures; if the epochs of their kind
or source are 0, they are not packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kinds.registry import kinds, names_of_splittable_kinds, names_of_text_kinds
from pipeline.packing.permutation import mix
from schemas.dataset import EMPTY, LEFT_OUT, LONG, SHORT
from schemas.errors import ConfigError
from schemas.fingerprint import fingerprint

_MAX_EPOCHS = 1000.0


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How many copies of each document are packed, and which documents are excluded."""

    kind_epochs: Mapping[str, float] = field(default_factory=dict)
    """Epochs by kind of document (video, image, book, qa), default 1. Below 1, that fraction of the documents is
    sampled."""
    source_epochs: Mapping[str, float] = field(default_factory=dict)
    """Epochs by the `source` in the manifest, default 1; multiplied by the epochs of the kind."""
    text_share: float | None = None
    """Share of training tokens in books and question-answer documents. Longreel repeats or samples these documents to
    reach it. LWM uses 0.16 in its video stages."""
    min_tokens: int = 1
    """Minimum length of a document in tokens; shorter ones are excluded from both splits. For long-context stages."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kind_epochs) - set(kinds())):
            raise ConfigError(f"kind_epochs names the kind {unknown[0]!r}; known are {', '.join(kinds())}")
        for name in ("kind_epochs", "source_epochs"):
            for key, value in getattr(self, name).items():
                if not 0 <= value <= _MAX_EPOCHS:
                    raise ConfigError(f"{name} of {key!r} must lie in 0..{_MAX_EPOCHS:.0f}, got {value}")
        if self.text_share is not None and not 0 <= self.text_share < 1:
            raise ConfigError(f"text_share must be at least 0 and below 1, got {self.text_share}")
        if self.min_tokens < 1:
            raise ConfigError(f"min_tokens must be at least 1, got {self.min_tokens}")

    def text_factor(self, text_tokens: int, other_tokens: int) -> float:
        """Return the factor on the epochs of text documents that gives `text_share`; the counts are for factor 1.

        Raises ConfigError if the share cannot be reached.
        """
        if self.text_share is None:
            return 1.0
        missing = "video or image" if not other_tokens else "book" if self.text_share and not text_tokens else None
        if missing:
            raise ConfigError(f"text_share {self.text_share} cannot be reached: no {missing} is left for training")
        factor = self.text_share / (1 - self.text_share) * other_tokens / max(1, text_tokens)
        if factor > _MAX_EPOCHS:
            raise ConfigError(
                f"text_share {self.text_share} requires {factor:,.0f} epochs of text, at most {_MAX_EPOCHS:.0f} "
                f"are supported: there are {text_tokens:,} tokens of text and {other_tokens:,} others. "
                "Use a smaller text_share or add text"
            )
        return factor

    def copies(
        self, table: pa.Table, draw: NDArray[np.uint64], *, context_length: int, text_factor: float, seed: int
    ) -> tuple[NDArray[np.int64], dict[str, int]]:
        """Return the number of copies of each document of `table` [D], and the counts of excluded documents by reason.

        `draw` [D] is a hash of each document id; the fractional part of the epochs is sampled with it.
        """
        kind, source = (np.array(table[name].to_pylist(), object) for name in ("kind", "source"))
        requested = _epochs_by(self.kind_epochs, kind) * _epochs_by(self.source_epochs, source)
        text = np.where(np.isin(kind, names_of_text_kinds()), text_factor, 1.0)
        epochs = np.where(np.asarray(table["split"]) == "train", requested * text, requested > 0)
        share = mix(draw ^ np.uint64(int(fingerprint(seed, "mixture")[:16], 16))) / 2.0**64
        copies = np.floor(epochs).astype(np.int64) + (share < epochs % 1)
        length = table["length"].to_numpy()
        # Texts that cannot be split must fit into the context; visual documents are split between frames.
        unsplittable = np.setdiff1d(names_of_text_kinds(), names_of_splittable_kinds())
        long = np.isin(kind, unsplittable) & (length > context_length)
        short = (length > 0) & (length < self.min_tokens)
        fit = (length > 0) & ~long & ~short
        copies[~fit] = 0
        excluded = {EMPTY: length == 0, SHORT: short, LONG: long & ~short, LEFT_OUT: fit & (copies == 0)}
        return copies, {reason: int(some.sum()) for reason, some in excluded.items() if some.any()}


def _epochs_by(epochs: Mapping[str, float], keys: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([epochs.get(key, 1.0) for key in keys.tolist()], np.float64)
