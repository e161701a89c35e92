"""Correlation of what changes in two sequences of frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.dedup.overlay import overlay
from pipeline.dedup.sampled_frames import NEIGHBORS, SampledFrames, mean_of_neighbors
from pipeline.dedup.similarity import Range
from pipeline.dedup.window import Floats

SAME_MOMENT_S = 0.3  # between two samples that are compared
_STEPS_S = (0.0, -0.0625, 0.0625, -0.125, 0.125)  # from an offset, at which pictures are compared
_MIN_COMPARED = 3  # samples of a range: those of the nearest moments, if there are fewer of the same
_MOMENT_S, _MIN_MOMENTS = 2.0, 2
_MIN_SIMILARITY = 0.75
_MIN_EXPLAINED = 0.65  # where the activity is certain of the offset
_SUFFICIENT_EXPLAINED = 0.85  # where it is not
_STILL_ENERGY, _MIN_STILL_SIMILARITY = 1e-3, 0.985


class PictureAgreement(NamedTuple):
    """How the pictures of a range of two sparsely sampled videos agree, at times that both have a sample of."""

    similarity: float  # median correlation
    explained: float  # share of what changes within the range that is the same; negative if they differ more than that
    energy: float  # mean square of what changes
    moments: int  # at which there are samples to compare

    def is_sufficient(self, *, is_certain: bool) -> bool:
        """Return whether the pictures agree; `is_certain`: the activity has one offset that stands out.

        The difference of the pictures is judged relative to what changes in them: two recordings in one studio are
        similar at any time, and so are the slides of one template.
        """
        if self.moments < _MIN_MOMENTS:
            return False
        if self.energy < _STILL_ENERGY:
            return self.similarity >= _MIN_STILL_SIMILARITY
        min_explained = _MIN_EXPLAINED if is_certain else _SUFFICIENT_EXPLAINED
        return self.similarity >= _MIN_SIMILARITY and self.explained >= min_explained


def compare_pictures(one: SampledFrames, other: SampledFrames, offset: float, within: Range) -> PictureAgreement:
    """Return how the pictures of a range of `one` agree at the best of some steps from `offset`, which is not exact."""
    found = [_compare_at(one, other, offset + step, within) for step in _STEPS_S]
    return max(found, key=lambda pictures: pictures.explained)


def _compare_at(one: SampledFrames, other: SampledFrames, offset: float, within: Range) -> PictureAgreement:
    over = overlay(one, other, offset)
    times_s = one.starts[over.sample]
    inside = np.flatnonzero(over.is_distinctive & (times_s >= within[0]) & (times_s < within[1]))
    if not len(inside):
        return PictureAgreement(0.0, -1.0, 0.0, 0)
    nearest = inside[np.argsort(over.distance_s[inside], kind="stable")]
    use = nearest[: max(_MIN_COMPARED, int(np.sum(over.distance_s[nearest] <= SAME_MOMENT_S)))]
    q, r = over.one[use], over.other[use]
    similarity = float(np.median(np.einsum("nc,nc->n", q, r)))
    changes = q - one.mean(*within), r - other.mean(within[0] + offset, within[1] + offset)
    energies = [float(np.mean(np.einsum("nc,nc->n", x, x))) for x in changes]
    difference = float(np.mean(np.einsum("nc,nc->n", q - r, q - r)))
    explained = 1 - difference / max(1e-9, sum(energies))
    return PictureAgreement(similarity, explained, max(energies), len(np.unique(times_s[use] // _MOMENT_S)))


def correlation_of_changes(q: Floats, r: Floats) -> tuple[Floats, Floats]:
    """Return, for unit vectors q and r [n, c] of frames shown at the same times, the correlation [n] of their changes.

    The change around a frame is measured over its neighbors on both sides, or on one side only, whichever correlates
    best: the shared range may start or end there. Also returns the energy of the changes [n], 0 to 1.
    """
    product = np.einsum("nc,nc->n", q, r)[:, None]
    correlations, energies = [], []
    for before, after in ((NEIGHBORS, NEIGHBORS), (NEIGHBORS, 0), (0, NEIGHBORS)):
        mean_q, mean_r = mean_of_neighbors(q, before, after), mean_of_neighbors(r, before, after)
        covariance = mean_of_neighbors(product, before, after)[:, 0] - np.einsum("nc,nc->n", mean_q, mean_r)
        energy_q, energy_r = (np.maximum(0, 1 - np.einsum("nc,nc->n", mean, mean)) for mean in (mean_q, mean_r))
        correlations.append(covariance / np.sqrt(np.maximum(energy_q * energy_r, 1e-12)))
        energies.append(np.maximum(energy_q, energy_r))
    return np.max(correlations, axis=0), energies[0]


def correlation(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the correlation of x and y [n, c], each of zero mean over n, and the larger mean square of a row."""
    squares = float(np.einsum("nc,nc->", x, x)), float(np.einsum("nc,nc->", y, y))
    covariance = float(np.einsum("nc,nc->", x, y))
    return covariance / max(1e-12, (squares[0] * squares[1]) ** 0.5), max(squares) / len(x)
