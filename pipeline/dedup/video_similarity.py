"""Similarity of videos by their sampled frames.

Hash keys come from `frame_keys`. A comparison first finds the window of the picture that both videos show: a copy may
be cropped, or have a logo, in which case its center agrees best. Then it tries offsets in time (`frame_alignment`); an
offset gives the ranges in which the videos agree (`video_alignment`). The search repeats on what is left of the videos,
so a shared intro and a shared ending are two ranges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.alignment.frame_alignment import common_views
from pipeline.dedup.alignment.long_alignment import ActivityThresholds, best_long_alignment
from pipeline.dedup.alignment.video_alignment import AlignmentThresholds, best_alignment
from pipeline.dedup.frame_keys import bits_for, picture_keys
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.segments import Alignment, merged
from pipeline.dedup.similarity import Range, Shared, Signature
from pipeline.video.analysis.frame_signature import as_pictures, signature_pictures

_MAX_ALIGNMENTS = 3  # a shared intro, middle and end


@dataclass(frozen=True, kw_only=True)
class VideoSimilarity:
    """Near-duplicate search for videos. The defaults were measured by benchmarks/near_duplicates.py."""

    version: int = 7
    min_collisions: int = 2  # in a large corpus, one frame collides with many by chance
    sufficient_collisions: int = 8
    tables: int = 4  # LSH tables
    bits: int = 28  # signs in a hash key, for a small corpus
    alignment: AlignmentThresholds = field(default_factory=AlignmentThresholds)
    activity: ActivityThresholds = field(default_factory=ActivityThresholds)
    min_shared_s: float = 1.5
    sufficient_containment: float = 0.8  # from which the mirrored video is not tried

    def scaled_to(self, items: int) -> VideoSimilarity:
        """Return the search with hash keys for `items` items; see pipeline.dedup.similarity.Similarity."""
        return replace(self, bits=bits_for(items, bits=self.bits))

    def sample_keys(self, samples: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
        """Return which samples are not flat, and the keys of those; see pipeline.dedup.similarity.Similarity."""
        return picture_keys(as_pictures(samples), tables=self.tables, bits=self.bits)

    def hash_keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return keys [m, 16 * tables] of the m frames that are not flat; see pipeline.dedup.similarity.Similarity."""
        return picture_keys(signature_pictures(signature.samples), tables=self.tables, bits=self.bits)[1]

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return what two videos share; see pipeline.dedup.similarity.Similarity."""
        if not len(a.samples) or not len(b.samples):
            return None
        if (len(b.samples), b.samples) < (len(a.samples), a.samples):  # the result does not depend on the order
            found = self.compare(b, a)
            return found and found.swapped()
        one, other = SampledFrames.of(a), SampledFrames.of(b)
        found = self._shared(one, other)
        if found is None or max(found.containment_a, found.containment_b) < self.sufficient_containment:
            mirrored = self._shared(one, other.mirrored())
            if mirrored and (found is None or mirrored.containment_a > found.containment_a):
                return replace(mirrored, mirrored=True)
        return found

    def _shared(self, one: SampledFrames, other: SampledFrames) -> Shared | None:
        """Return what two videos share in one orientation."""
        alignments = self._alignments(one, other)
        # Undecided samples extend a range, so that ranges of two alignments can overlap.
        ranges_a = merged(r for alignment in alignments for r in alignment.ranges_a)
        ranges_b = merged(r for alignment in alignments for r in alignment.ranges_b)
        shared_a = _duration(ranges_a)
        total_a, total_b = float(one.lengths.sum()), float(other.lengths.sum())
        if not alignments or shared_a < min(self.min_shared_s, 0.6 * total_a, 0.6 * total_b):
            return None
        scores = np.array([alignment.score for alignment in alignments])
        return Shared(
            containment_a=min(1.0, shared_a / total_a),
            containment_b=min(1.0, _duration(ranges_b) / total_b),
            similarity=float(np.average([alignment.similarity for alignment in alignments], weights=scores)),
            shared_a=ranges_a,
            shared_b=ranges_b,
        )

    def _alignments(self, a: SampledFrames, b: SampledFrames) -> list[Alignment]:
        """Return the best alignments of two videos in the view that most speaks for, best first."""
        found = [self._alignments_in(view.one, view.other) for view in common_views(a, b)]
        return max(found, key=lambda alignments: sum(alignment.score for alignment in alignments), default=[])

    def _alignments_in(self, one: SampledFrames, other: SampledFrames) -> list[Alignment]:
        """Return the best alignments of two videos, each of what the ones before it leave, best first."""
        found: list[Alignment] = []
        if one.is_sparse and other.is_sparse and (long := best_long_alignment(one, other, self.activity)):
            return [long]
        while len(found) < _MAX_ALIGNMENTS and (alignment := best_alignment(one, other, self.alignment)):
            found.append(alignment)
            one, other = one.without(alignment.ranges_a), other.without(alignment.ranges_b)
        return found


def _duration(ranges: Iterable[Range]) -> float:
    return sum(end - start for start, end in ranges)
