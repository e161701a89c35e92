"""The sampled frames of a video as vectors to compare.

A frame becomes a vector of zero mean and unit length: brightness and contrast do not count, and the inner product of
two vectors is the correlation of the frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.similarity import Range, Signature
from pipeline.dedup.window import Floats, Window, normalized
from pipeline.video.analysis.frame_signature import SIGNATURE_BYTES, is_flat, signature_pictures

NEIGHBORS = 3  # neighbors in time on either side, relative to which the change of a frame is measured
_MIN_CHANGE = 0.02  # length of a change below which it is scaled down, as it may be noise
_EXTREME_CELLS = 12  # cells that a logo of a fifth of the width and height covers


@dataclass(frozen=True, eq=False)
class SampledFrames:
    """The n sampled frames of a video, sorted by time."""

    vectors: Floats  # [n, SIGNATURE_BYTES]
    starts: NDArray[np.float64]  # [n], seconds
    lengths: NDArray[np.float64]  # [n], seconds that each frame represents
    is_distinctive: NDArray[np.bool_]  # [n]: the frame is not flat, and can be told from others

    @classmethod
    def of(cls, signature: Signature) -> SampledFrames:
        """Return the frames of a signature."""
        order = np.argsort(signature.starts, kind="stable")
        pictures = signature_pictures([signature.samples[i] for i in order])
        vectors = normalized(clip_extremes(pictures))
        return cls(vectors, signature.starts[order], signature.lengths[order], ~is_flat(pictures))

    @property
    def end(self) -> float:
        """The end of the last frame in seconds."""
        return float(self.starts[-1] + self.lengths[-1])

    @property
    def changes(self) -> Floats:
        """The difference of each frame to the mean of its neighbors: [n, SIGNATURE_BYTES], at most unit length."""
        difference = self.vectors - mean_of_neighbors(self.vectors, NEIGHBORS, NEIGHBORS)
        length = np.linalg.norm(difference, axis=1, keepdims=True)
        changes: Floats = difference / np.maximum(length, _MIN_CHANGE)
        return changes

    @property
    def distinctive_s(self) -> float:
        """Seconds of frames that are distinctive."""
        return float(self.lengths[self.is_distinctive].sum())

    def cropped(self, window: Window) -> SampledFrames:
        """Return the frames cropped to `window`."""
        return replace(self, vectors=window.crop(self.vectors))

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
    ordered = np.sort(cells, axis=1)
    return np.clip(cells, ordered[:, [_EXTREME_CELLS]], ordered[:, [-1 - _EXTREME_CELLS]])
