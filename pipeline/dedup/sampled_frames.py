"""The sampled frames of a video as vectors to compare.

A frame becomes a vector of zero mean and unit length: brightness and contrast do not count, and the inner product of
two vectors is the correlation of the frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.activity_alignment import course
from pipeline.dedup.similarity import Range, Signature
from pipeline.dedup.window import Floats, Window, normalized
from pipeline.video.analysis.frame_signature import SIDE, SIGNATURE_BYTES, is_flat, signature_pictures

NEIGHBORS = 3  # neighbors in time on either side, relative to which the change of a frame is measured
_AROUND_S = 15.0  # seconds on either side, relative to which it is measured whatever the sampling times
_PERIOD_S = 0.5
_DENSE = 1.4  # samples per second
_MIN_CHANGE = 0.02  # length of a change below which it is scaled down, as it may be noise
_EXTREME_CELLS = 12  # cells that a logo of a fifth of the width and height covers


@dataclass(frozen=True, eq=False)
class SampledFrames:
    """The n sampled frames of a video, sorted by time."""

    vectors: Floats  # [n, SIGNATURE_BYTES]
    starts: NDArray[np.float64]  # [n], seconds
    lengths: NDArray[np.float64]  # [n], seconds that each frame represents
    is_distinctive: NDArray[np.bool_]  # [n]: the frame is not flat, and can be told from others
    course: NDArray[np.float64] | None = None  # of the activity, see pipeline.dedup.activity_alignment

    @classmethod
    def of(cls, signature: Signature) -> SampledFrames:
        """Return the frames of a signature."""
        order = np.argsort(signature.starts, kind="stable")
        pictures = signature_pictures([signature.samples[i] for i in order])
        vectors = normalized(clip_extremes(pictures))
        starts, lengths = signature.starts[order], signature.lengths[order]
        return cls(vectors, starts, lengths, ~is_flat(pictures), course(signature.activity))

    @property
    def end(self) -> float:
        """The end of the last frame in seconds."""
        return float(self.starts[-1] + self.lengths[-1])

    @property
    def density(self) -> float:
        """Samples per second."""
        return len(self.lengths) / max(1e-9, float(self.lengths.sum()))

    @property
    def is_sparse(self) -> bool:
        """Whether the motion between two samples cannot be told from them."""
        return self.density < _DENSE

    @property
    def changes(self) -> Floats:
        """The difference of each frame to the mean of the time around it: [n, SIGNATURE_BYTES], at most unit length.

        Two videos that are sampled at other times have about the same mean, as each frame counts by its length.
        """
        difference = self.vectors - self._mean_around()
        length = np.linalg.norm(difference, axis=1, keepdims=True)
        changes: Floats = difference / np.maximum(length, _MIN_CHANGE)
        return changes

    def _mean_around(self) -> Floats:
        """Return for each frame the mean of the frames within `_AROUND_S` seconds, weighted by their lengths."""
        weights = np.minimum(np.maximum(self.lengths, 1e-3), _AROUND_S)[:, None]
        sums = np.concatenate([np.zeros((1, SIGNATURE_BYTES)), np.cumsum(self.vectors * weights, 0)])
        totals = np.concatenate([[0.0], np.cumsum(weights)])
        low = np.searchsorted(self.starts, self.starts - _AROUND_S)
        high = np.searchsorted(self.starts, self.starts + _AROUND_S, "right")
        return ((sums[high] - sums[low]) / (totals[high] - totals[low])[:, None]).astype(np.float32)

    def mean(self, start_s: float, end_s: float) -> Floats:
        """Return the mean [SIGNATURE_BYTES] of the frames shown between two times; each counts by its length."""
        is_shown = (self.starts + self.lengths > start_s) & (self.starts < end_s)
        weights = np.where(is_shown, np.minimum(self.lengths, _AROUND_S), 0)
        total: Floats = (weights @ self.vectors / max(1e-9, float(weights.sum()))).astype(np.float32)
        return total

    @cached_property
    def energy(self) -> float:
        """The mean square of what changes in the distinctive frames of the whole video."""
        if not self.is_distinctive.any():
            return 0.0
        vectors, lengths = self.vectors[self.is_distinctive], self.lengths[self.is_distinctive] + 1e-9
        changes = vectors - np.average(vectors, axis=0, weights=lengths)
        return float(np.average(np.einsum("nc,nc->n", changes, changes), weights=lengths))

    @property
    def distinctive_s(self) -> float:
        """Seconds of frames that are distinctive."""
        return float(self.lengths[self.is_distinctive].sum())

    def cropped(self, window: Window) -> SampledFrames:
        """Return the frames cropped to `window`."""
        return replace(self, vectors=window.crop(self.vectors))

    def mirrored(self) -> SampledFrames:
        """Return the frames flipped horizontally."""
        flipped = self.vectors.reshape(-1, SIDE, SIDE)[:, :, ::-1]
        return replace(self, vectors=np.ascontiguousarray(flipped).reshape(-1, SIGNATURE_BYTES))

    def thinned(self) -> SampledFrames:
        """Return one frame in each period of `_PERIOD_S`."""
        periods = np.floor((self.starts + 1e-3) / _PERIOD_S)
        kept = np.concatenate([[True], periods[1:] != periods[:-1]])
        if kept.all():
            return self
        lengths = np.diff(self.starts[kept], append=self.end)
        return replace(
            self,
            vectors=self.vectors[kept],
            starts=self.starts[kept],
            lengths=lengths,
            is_distinctive=self.is_distinctive[kept],
        )

    def without(self, ranges: Iterable[Range]) -> SampledFrames:
        """Return the frames with those within `ranges` marked as not distinctive."""
        middle = self.starts + self.lengths / 2
        taken = [(middle >= start) & (middle <= end) for start, end in ranges]
        is_taken = np.any([np.zeros(len(middle), bool), *taken], axis=0)
        return replace(self, is_distinctive=self.is_distinctive & ~is_taken)


def mean_of_neighbors(values: Floats, before: int, after: int) -> Floats:
    """Return for each of `values` [n, c] the mean of itself, `before` predecessors and `after` successors.

    Fewer at either end. O(n c), by cumulative sums.
    """
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), values.cumsum(0, dtype=np.float64)])
    index = np.arange(len(values))
    low, high = np.maximum(index - before, 0), np.minimum(index + after + 1, len(values))
    return ((sums[high] - sums[low]) / (high - low)[:, None]).astype(np.float32)


def clip_extremes(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures [n, SIDE, SIDE] as [n, SIGNATURE_BYTES], with the brightest and darkest cells clipped.

    Otherwise a bright logo on a dark picture would dominate its vector.
    """
    cells = pictures.reshape(len(pictures), SIGNATURE_BYTES)
    ordered = np.sort(cells.astype(np.float32), axis=1)[:, [_EXTREME_CELLS, -1 - _EXTREME_CELLS]]  # faster than bytes
    low, high = ordered.astype(np.uint8)[:, :, None].swapaxes(0, 1)
    return np.clip(cells, low, high)
