"""Two videos laid over each other at an offset in time, frame by frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.window import Floats, normalized

Indices = NDArray[np.int64]

_DENSE_S = 1.0  # seconds between two samples up to which the frames between them can be interpolated
_REACH = 0.6  # of a sample's length: how far from its start it still represents a time


class Overlay(NamedTuple):
    """The m samples of one video at whose times another video has a frame."""

    sample: Indices  # [m], their numbers
    one: Floats  # [m, SIGNATURE_BYTES], their vectors
    other: Floats  # [m, SIGNATURE_BYTES], the vectors of the other video at the same time
    is_distinctive: NDArray[np.bool_]  # [m]: both frames are distinctive
    is_blank: NDArray[np.bool_]  # [m]: neither is
    distance_s: NDArray[np.float64]  # [m], from the time of the other frame; 0 between two dense samples


class _Neighbors(NamedTuple):
    """For each of m times, the samples of a video before and after it."""

    before: Indices  # [m]
    after: Indices  # [m]
    share: NDArray[np.float64]  # [m], position between the two, 0 to 1
    gap_s: NDArray[np.float64]  # [m], seconds between the two

    @property
    def nearest(self) -> Indices:
        """The nearer of the two."""
        return np.where(self.share < 0.5, self.before, self.after)

    def take(self, which: Indices) -> _Neighbors:
        return _Neighbors(self.before[which], self.after[which], self.share[which], self.gap_s[which])


def overlay(one: SampledFrames, other: SampledFrames, offset: float) -> Overlay:
    """Return the overlay of `one` and `other`, whose times are `offset` seconds larger.

    A sample of `one` between two dense samples of `other` is compared with either of them and with their interpolation,
    and the best of the three is taken, because motion is not linear.
    """
    times = one.starts + offset
    neighbors = _neighbors(other, times)
    sample = np.flatnonzero(_is_represented(other, times, neighbors))
    neighbors = neighbors.take(sample)
    vectors = one.vectors[sample]
    mine, theirs = one.is_distinctive[sample], other.is_distinctive[neighbors.nearest]
    distance_s = np.abs(other.starts[neighbors.nearest] - times[sample])
    is_inside = (neighbors.gap_s <= _DENSE_S) & (neighbors.share > 0) & (neighbors.share < 1)
    distance_s = np.where(is_inside, 0.0, distance_s)
    return Overlay(sample, vectors, _best_of(vectors, other, neighbors), mine & theirs, ~mine & ~theirs, distance_s)


def _neighbors(frames: SampledFrames, times: NDArray[np.float64]) -> _Neighbors:
    after = np.clip(np.searchsorted(frames.starts, times), 1, max(1, len(frames.starts) - 1))
    before = after - 1
    after = np.minimum(after, len(frames.starts) - 1)
    gap_s = np.maximum(frames.starts[after] - frames.starts[before], 1e-9)
    return _Neighbors(before, after, np.clip((times - frames.starts[before]) / gap_s, 0, 1), gap_s)


def _is_represented(frames: SampledFrames, times: NDArray[np.float64], neighbors: _Neighbors) -> NDArray[np.bool_]:
    """Return which times [m] lie near a sample, or between two dense ones."""
    nearest = neighbors.nearest
    reach = np.maximum(frames.lengths[nearest], 1e-9) * _REACH
    is_near = np.abs(frames.starts[nearest] - times) <= reach
    is_inside = (times >= frames.starts[0]) & (times <= frames.starts[-1])
    return is_near | (is_inside & (neighbors.gap_s <= _DENSE_S))


def _best_of(vectors: Floats, other: SampledFrames, neighbors: _Neighbors) -> Floats:
    """Return for each of `vectors` [m, c] the best of the interpolated frame, the one before, and the one after."""
    share = neighbors.share[:, None].astype(np.float32)
    before, after = other.vectors[neighbors.before], other.vectors[neighbors.after]
    choices = np.stack([normalized(before * (1 - share) + after * share), before, after])
    correlation = np.einsum("knc,nc->kn", choices, vectors)
    is_dense = (neighbors.gap_s <= _DENSE_S) & (share[:, 0] > 0) & (share[:, 0] < 1)
    farther = np.where(share[:, 0] < 0.5, 2, 1)
    correlation[0, ~is_dense] = -2
    correlation[farther[~is_dense], np.flatnonzero(~is_dense)] = -2  # only the nearest sample is left
    chosen: Floats = choices[correlation.argmax(0), np.arange(len(vectors))]
    return chosen
