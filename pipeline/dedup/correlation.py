"""Correlation of what changes in two sequences of frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.dedup.overlay import overlay
from pipeline.dedup.sampled_frames import NEIGHBORS, SampledFrames, mean_of_neighbors
from pipeline.dedup.similarity import Range
from pipeline.dedup.window import Floats, Window, blurred, median
from pipeline.video.analysis.frame_signature import SIDE

SAME_MOMENT_S = 0.3  # between two samples that are compared
_STEPS_S = (0.0, -0.0625, 0.0625, -0.125, 0.125)  # from an offset, at which pictures are compared
_MIN_COMPARED = 3  # samples of a range: those of the nearest moments, if there are fewer of the same
_MOMENT_S = 2.0  # time within which samples show one moment
MIN_SIMILARITY = 0.75
_SUFFICIENT_EXPLAINED, _SUFFICIENT_EXPLAINED_CENTER = 0.85, 0.95  # either is enough
_MIN_EXPLAINED, _MIN_EXPLAINED_CENTER = 0.65, 0.55  # likewise, where one offset stands out
_STILL_ENERGY = 1e-3
_MIN_STILL_SIMILARITY, _MIN_STILL_SIMILARITY_OF_PART = 0.985, 0.995  # of still videos, and of still parts
_CENTER = Window(0.26, 0.26, 0.26, 0.26)  # without logos
_MISFIT_PRIOR = 0.02  # by which the best shift and scale are drawn to none


class PictureAgreement(NamedTuple):
    """How the pictures of a range of two videos agree, at times that both have a sample of.

    A share that is explained is 1 if the pictures are equal, 0 if they differ as much as unrelated changes do, and
    negative if they differ by more than what changes.
    """

    similarity: float  # median correlation
    explained: float  # share of what changes within the range that is the same
    explained_center: float  # likewise, of the blurred center of the picture, fitted to each other
    energy: float  # mean square of what changes within the range
    energy_of_videos: float  # the same of the whole videos
    moments: int  # at which there are samples to compare

    @property
    def is_still(self) -> bool:
        """Whether nothing changes within the range."""
        return self.energy < _STILL_ENERGY

    @property
    def is_sufficient_if_still(self) -> bool:
        """Whether the pictures of a still range agree; more closely if the videos change elsewhere."""
        is_part = self.energy_of_videos >= _STILL_ENERGY
        return self.similarity >= (_MIN_STILL_SIMILARITY_OF_PART if is_part else _MIN_STILL_SIMILARITY)

    def is_sufficient(self, *, is_certain: bool) -> bool:
        """Return whether the pictures agree; `is_certain`: the videos have one offset that stands out.

        The difference of the pictures is judged relative to what changes in them: two recordings in one studio are
        similar at any time, and so are the slides of one template. A copy with a logo, or cropped, may differ by more
        than what changes in a quiet scene. Its center, which must agree more closely, is then enough. A still
        range of videos that change elsewhere must be almost equal, as it may be one of many slides.
        """
        if self.similarity < MIN_SIMILARITY:
            return False
        if self.is_still:
            return self.is_sufficient_if_still
        if self.explained >= _SUFFICIENT_EXPLAINED or self.explained_center >= _SUFFICIENT_EXPLAINED_CENTER:
            return True
        return is_certain and (self.explained >= _MIN_EXPLAINED or self.explained_center >= _MIN_EXPLAINED_CENTER)


def compare_pictures(one: SampledFrames, other: SampledFrames, offset: float, within: Range) -> PictureAgreement:
    """Return how the pictures of a range of `one` agree at the best of some steps from `offset`, which is not exact."""
    pictures, q, r = best_pictures(one, other, offset, within)
    return pictures._replace(explained_center=centers_of(q, r).explained) if len(q) else pictures


def best_pictures(
    one: SampledFrames, other: SampledFrames, offset: float, within: Range
) -> tuple[PictureAgreement, Floats, Floats]:
    """Return the same without the centers, and the pictures [n, SIGNATURE_BYTES] of both, in order of time."""
    found = [pictures_at(one, other, offset + step, within) for step in _STEPS_S]
    return max(found, key=lambda compared: compared[0].explained)


def pictures_at(
    one: SampledFrames, other: SampledFrames, offset: float, within: Range
) -> tuple[PictureAgreement, Floats, Floats]:
    """Return the agreement at one offset, and the pictures [n, SIGNATURE_BYTES] of both that it was computed from."""
    over = overlay(one, other, offset)
    times_s = one.starts[over.sample]
    inside = np.flatnonzero(over.is_distinctive & (times_s >= within[0]) & (times_s < within[1]))
    nearest = inside[np.argsort(over.distance_s[inside], kind="stable")]
    use = np.sort(nearest[: max(_MIN_COMPARED, int(np.sum(over.distance_s[nearest] <= SAME_MOMENT_S)))])
    q, r = over.one[use], over.other[use]
    if not len(use):
        return PictureAgreement(0.0, -1.0, -1.0, 0.0, 0.0, 0), q, r
    similarity = float(median(np.einsum("nc,nc->n", q, r)))
    energies = _energy(q - one.mean(*within)), _energy(r - other.mean(within[0] + offset, within[1] + offset))
    explained = _explained(q - r, *energies)
    moments = len(np.unique(times_s[use] // _MOMENT_S))
    energy, of_videos = max(energies), max(one.energy, other.energy)
    return PictureAgreement(similarity, explained, -1.0, energy, of_videos, moments), q, r


class Centers(NamedTuple):
    """The blurred centers of pictures shown at n times, fitted to each other."""

    one: Floats  # [n, SIGNATURE_BYTES]
    other: Floats  # [n, SIGNATURE_BYTES]
    difference: Floats  # [n, SIGNATURE_BYTES], what one shift, scale and contrast does not explain
    explained: float  # share of what changes that is the same


def centers_of(q: Floats, r: Floats) -> Centers:
    """Return the centers of pictures q and r [n, SIGNATURE_BYTES].

    Cropped pictures cannot be resized exactly from so few cells, so details are blurred, and the remaining small shift
    and scale are fitted.
    """
    q, r = (_CENTER.crop(blurred(pictures)) for pictures in (q, r))
    difference = r - q - misfit(q, r)
    return Centers(q, r, difference, _explained(difference, _energy(q - q.mean(0)), _energy(r - r.mean(0))))


def misfit(q: Floats, r: Floats) -> Floats:
    """Return the part of r - q [n, SIGNATURE_BYTES] that one shift, one scale and one contrast for all n explain.

    It is linear in the gradients of the pictures. The least-squares fit is that of their means.
    """
    square = q.reshape(-1, SIDE, SIDE)
    down, right = np.gradient(square, axis=1), np.gradient(square, axis=2)
    place = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) / (SIDE / 2)
    fields = np.stack([right, down, right * place, down * place[:, None], square]).reshape(5, *q.shape)
    means = fields.mean(1)
    prior = np.diag(_MISFIT_PRIOR * np.linalg.norm(means, axis=1))
    wanted = np.concatenate([(r - q).mean(0), np.zeros(len(prior))])
    amounts = np.linalg.lstsq(np.concatenate([means.T, prior]), wanted, rcond=None)[0]
    part: Floats = np.einsum("k,knc->nc", amounts, fields).astype(np.float32)
    return part


def _explained(difference: Floats, energy: float, other_energy: float) -> float:
    return 1 - _energy(difference) / max(1e-9, energy + other_energy)


def _energy(changes: Floats) -> float:
    return float(np.mean(np.einsum("nc,nc->n", changes, changes)))


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
