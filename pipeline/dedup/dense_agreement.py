"""Whether the pictures of a range of two densely sampled videos agree, moment by moment.

A copy may be cropped, carry a logo, or be sampled between two frames of the original. The centers of its pictures are
blurred and fitted to the original, and what then remains is compared with the motion between successive samples: of one
moment it is not larger. Two quizzes of one template have the same rhythm, and their slides change by more than they
differ, but while a slide is shown, nothing moves and the text differs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.correlation import MIN_SIMILARITY, PictureAgreement, best_pictures, centers_of, pictures_at
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.similarity import Range
from pipeline.dedup.window import Floats, median

_TOLERANCE, _CLOSE = 0.06, 0.03  # mean square of a difference of normalized pictures; without a certain offset
_HOPELESS = 4 * _TOLERANCE
_MIN_AGREEING = 0.75  # share of the samples
_SUFFICIENT_EXPLAINED = 0.92  # of what changes in the centers, where the offset is not certain


class DenseAgreement(NamedTuple):
    """How the pictures of a range of two densely sampled videos agree."""

    pictures: PictureAgreement
    excess: NDArray[np.float64]  # [n]: by how much the centers of a moment differ beyond their motion, mean square
    explained: float  # share of what changes in the centers that is the same

    def is_sufficient(self, *, is_certain: bool) -> bool:
        """Return whether the pictures agree; `is_certain`: the videos have one offset that stands out.

        Without it, pictures of videos in which little moves must agree closely, or change in the same way.
        """
        if self.pictures.similarity < MIN_SIMILARITY:
            return False
        if self.pictures.is_still:
            return self.pictures.is_sufficient_if_still
        if not self._share_within(_TOLERANCE):
            return False
        return is_certain or self.explained >= _SUFFICIENT_EXPLAINED or self._share_within(_CLOSE)

    def _share_within(self, tolerance: float) -> bool:
        return float(np.mean(self.excess <= tolerance)) >= _MIN_AGREEING


def compare_dense(one: SampledFrames, other: SampledFrames, offset: float, within: Range) -> DenseAgreement:
    """Return how the pictures of a range of `one` agree at the best of some steps from `offset`, which is not exact.

    No step is tried if the pictures differ by far more than motion explains, as those of other videos mostly do.
    """
    found = _agreement(*pictures_at(one, other, offset, within))
    if len(found.excess) and float(median(found.excess)) > _HOPELESS:
        return found
    return _agreement(*best_pictures(one, other, offset, within))


def _agreement(pictures: PictureAgreement, q: Floats, r: Floats) -> DenseAgreement:
    if not len(q):
        return DenseAgreement(pictures, np.zeros(0), -1.0)
    centers = centers_of(q, r)
    motion = np.minimum(_motion(centers.one), _motion(centers.other))
    return DenseAgreement(pictures, _squares(centers.difference) - motion, centers.explained)


def _motion(pictures: Floats) -> NDArray[np.float64]:
    """Return how much each of n pictures differs from the one before or after it, the nearer of both: [n]."""
    if len(pictures) < 2:
        return np.zeros(len(pictures))
    steps = _squares(np.diff(pictures, axis=0))
    return np.minimum(np.append(steps[:1], steps), np.append(steps, steps[-1:]))


def _squares(pictures: Floats) -> NDArray[np.float64]:
    return np.einsum("nc,nc->n", pictures, pictures).astype(np.float64)
