"""What near-duplicates are found by, whatever the kind: a signature, keys that bring pairs together, a comparison.

An item is a run of samples: frames of a video, passages of a book. Two items that have a key in common are compared,
sample by sample, and the comparison says how much of each the other has. `dedup` runs this over a whole workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]  # start and end, in seconds or in characters of the clean text


@dataclass(frozen=True)
class Signature:
    """One item as a run of `n` samples (a row of schemas.records.SIGNATURES)."""

    content_id: str
    kind: str
    starts: NDArray[np.float64]  # [n], where a sample stands: seconds, or characters of the clean text
    lengths: NDArray[np.float64]  # [n], what it stands for, in the same unit
    samples: tuple[bytes, ...]  # n of one length


@dataclass(frozen=True)
class Shared:
    """What two items have in common."""

    containment_a: float  # share of a that b has too, 0 to 1
    containment_b: float
    similarity: float  # of what they share, 0 to 1
    shared_a: tuple[Range, ...]  # where in a, in order
    shared_b: tuple[Range, ...]


class Similarity(Protocol):
    """How items of one kind are found alike."""

    @property
    def min_collisions(self) -> int:
        """Keys that two items must have in common to be compared, of two samples of each where they have as many."""
        ...

    @property
    def sufficient_collisions(self) -> int:
        """Keys in common for which they are compared whatever samples they are of."""
        ...

    def scaled_to(self, items: int) -> Similarity:
        """Return what to search so many items with: the more there are, the more a key must say."""
        ...

    def hash_keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return keys [m, k] of the samples that can be told from others: items that have some in common are alike."""
        ...

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return what two items share, or None where it is too little to be more than chance."""
        ...
