"""The mixture: how often each document goes into a dataset.

A document goes in `epochs` times: the product of its kind's and its source's, and for text of a factor that brings text
to its share. Of a fraction, that share of the documents goes in once more, drawn by a hash of their identity: whole
documents, the same ones whatever the workers or the order. Held-out documents go in once, or losses on them could not
be compared between mixtures; but where a kind or source goes in 0 times, they stay out as well.
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

_MOST_EPOCHS = 1000.0


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How often documents go in."""

    kind_epochs: Mapping[str, float] = field(default_factory=dict)
    """How often documents of a kind (video, image, book, qa) go in; 1 where nothing is said. Below 1: that share."""
    source_epochs: Mapping[str, float] = field(default_factory=dict)
    """The same by the manifest's `source`; both multiply."""
    text_share: float | None = None
    """Share of the tokens that are books and question-answer documents: they are taken more or less often to reach it.
    LWM keeps 0.16 in its stages on video."""
    min_tokens: int = 1
    """Documents shorter than this stay out, held-out ones as well: for stages that are to learn from long contexts."""

    def __post_init__(self) -> None:
        if strange := sorted(set(self.kind_epochs) - set(kinds())):
            raise ConfigError(f"kind_epochs names the kind {strange[0]!r}; known are {', '.join(kinds())}")
        for name in ("kind_epochs", "source_epochs"):
            for key, value in getattr(self, name).items():
                if not 0 <= value <= _MOST_EPOCHS:
                    raise ConfigError(f"{name} of {key!r} must lie in 0..{_MOST_EPOCHS:.0f}, got {value}")
        if self.text_share is not None and not 0 <= self.text_share < 1:
            raise ConfigError(f"text_share must be at least 0 and below 1, got {self.text_share}")
        if self.min_tokens < 1:
            raise ConfigError(f"min_tokens must be at least 1, got {self.min_tokens}")

    def text_factor(self, text_tokens: int, other_tokens: int) -> float:
        """Return by how much text must be taken more often, where so many training tokens are there without that.

        Raises ConfigError where the share cannot be reached.
        """
        if self.text_share is None:
            return 1.0
        missing = "video or image" if not other_tokens else "book" if self.text_share and not text_tokens else None
        if missing:
            raise ConfigError(f"text_share {self.text_share} cannot be reached: no {missing} is left for training")
        factor = self.text_share / (1 - self.text_share) * other_tokens / max(1, text_tokens)
        if factor > _MOST_EPOCHS:
            raise ConfigError(
                f"text_share {self.text_share} would take every text {factor:,.0f} times, and may at most "
                f"{_MOST_EPOCHS:.0f}: there are {text_tokens:,} tokens of text beside {other_tokens:,} others"
            )
        return factor

    def copies(
        self, table: pa.Table, draw: NDArray[np.uint64], *, context_length: int, text_factor: float, seed: int
    ) -> tuple[NDArray[np.int64], dict[str, int]]:
        """Return how often each document of `table` [D] goes in, and how many do not, by reason.

        `draw` [D] is a hash of each document's identity.
        """
        kind, source = (np.array(table[name].to_pylist(), object) for name in ("kind", "source"))
        asked = _looked_up(self.kind_epochs, kind) * _looked_up(self.source_epochs, source)
        text = np.where(np.isin(kind, names_of_text_kinds()), text_factor, 1.0)
        epochs = np.where(np.asarray(table["split"]) == "train", asked * text, asked > 0)
        share = mix(draw ^ np.uint64(int(fingerprint(seed, "mixture")[:16], 16))) / 2.0**64
        copies = np.floor(epochs).astype(np.int64) + (share < epochs % 1)
        length = table["length"].to_numpy()
        # A text that may not be split must fit; visual documents are split between frames.
        unsplittable = np.setdiff1d(names_of_text_kinds(), names_of_splittable_kinds())
        long = np.isin(kind, unsplittable) & (length > context_length)
        short = (length > 0) & (length < self.min_tokens)
        fit = (length > 0) & ~long & ~short
        copies[~fit] = 0
        out = {EMPTY: length == 0, SHORT: short, LONG: long & ~short, LEFT_OUT: fit & (copies == 0)}
        return copies, {reason: int(some.sum()) for reason, some in out.items() if some.any()}


def _looked_up(epochs: Mapping[str, float], keys: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([epochs.get(key, 1.0) for key in keys.tolist()], np.float64)
