"""The protocol of near-duplicate search for one kind of items: hash keys that bring items together, and a comparison.

An item is a sequence of samples: frames of a video, passages of a book. Items that share LSH hash keys are compared
sample by sample, and the comparison gives how much of each item the other one contains. `pipeline.dedup.job` runs this
over a whole workspace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]  # start and end, in seconds or in characters of the clean text


@dataclass(frozen=True)
class Signature:
    """One item as a sequence of `n` samples (a row of schemas.records.SIGNATURES)."""

    content_id: str
    kind: str
    starts: NDArray[np.float64]  # [n], start of each sample in seconds, or in characters of the clean text
    lengths: NDArray[np.float64]  # [n], length that each sample represents, in the same unit
    samples: tuple[bytes, ...]  # n byte strings of one length
    activity: bytes = b""  # of a video, see pipeline.video.analysis.activity; empty if unknown


@dataclass(frozen=True)
class Shared:
    """What two items have in common."""

    containment_a: float  # share of a that b contains, 0 to 1
    containment_b: float  # share of b that a contains, 0 to 1
    similarity: float  # mean similarity of the shared samples, 0 to 1
    shared_a: tuple[Range, ...]  # the shared ranges of a, in order
    shared_b: tuple[Range, ...]
    mirrored: bool = False  # whether one shows the pictures of the other flipped horizontally

    def swapped(self) -> Shared:
        """Return the same with a and b exchanged."""
        return replace(
            self,
            containment_a=self.containment_b,
            containment_b=self.containment_a,
            shared_a=self.shared_b,
            shared_b=self.shared_a,
        )


class Similarity(Protocol):
    """The near-duplicate search for one kind of items."""

    @property
    def min_collisions(self) -> int:
        """Minimum collisions of two items to be compared, from at least two samples of each item that has two."""
        ...

    @property
    def sufficient_collisions(self) -> int:
        """Collisions from which two items are compared even if all come from one sample."""
        ...

    def scaled_to(self, items: int) -> Similarity:
        """Return the search for a corpus of `items` items: longer hash keys for a larger corpus."""
        ...

    def sample_keys(self, samples: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
        """Return which of samples [n, size] can be told from others: [n], and the hash keys of those m: [m, k].

        The samples may be those of many items: the keys of a sample do not depend on the other samples.
        """
        ...

    def hash_keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return the hash keys [m, k] of those m samples that can be told from others, k keys for each."""
        ...

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return what two items share, or None if it may be by chance."""
        ...
