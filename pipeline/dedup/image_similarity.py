"""Similarity of images: one sample each. Without motion as evidence, the pictures must agree closely."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.alignment.frame_alignment import common_view
from pipeline.dedup.frame_keys import bits_for, picture_keys
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.similarity import Shared, Signature
from pipeline.video.analysis.frame_signature import as_pictures, signature_pictures


@dataclass(frozen=True, kw_only=True)
class ImageSimilarity:
    """Near-duplicate search for images. The defaults were measured by benchmarks/near_duplicates.py."""

    version: int = 4
    min_collisions: int = 1
    sufficient_collisions: int = 1
    tables: int = 3  # LSH tables
    bits: int = 28  # signs in a hash key, for a small corpus
    min_correlation: float = 0.97

    def scaled_to(self, items: int) -> ImageSimilarity:
        """Return the search with hash keys for `items` items; see pipeline.dedup.similarity.Similarity."""
        return replace(self, bits=bits_for(items, bits=self.bits))

    def sample_keys(self, samples: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
        """Return which samples are not flat, and the keys of those; see pipeline.dedup.similarity.Similarity."""
        return picture_keys(as_pictures(samples), tables=self.tables, bits=self.bits)

    def hash_keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return keys [m, 16 * tables], m = 0 for a flat picture, else 1; see pipeline.dedup.similarity.Similarity."""
        return picture_keys(signature_pictures(signature.samples), tables=self.tables, bits=self.bits)[1]

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return full containment of equal images, or None; see pipeline.dedup.similarity.Similarity."""
        if not len(a.samples) or not len(b.samples):
            return None
        one, other = SampledFrames.of(a), SampledFrames.of(b)
        correlation, correlation_mirrored = _correlation(one, other), _correlation(one, other.mirrored())
        best = max(correlation, correlation_mirrored)
        if best < self.min_correlation:
            return None
        ranges = ((0.0, float(a.lengths[0])),), ((0.0, float(b.lengths[0])),)
        return Shared(1.0, 1.0, min(1.0, best), *ranges, mirrored=correlation_mirrored > correlation)


def _correlation(one: SampledFrames, other: SampledFrames) -> float:
    """Return the correlation of two images in the window that both show, 0 if there is none."""
    view = common_view(one, other)
    return float(view.one.vectors[0] @ view.other.vectors[0]) if view else 0.0
