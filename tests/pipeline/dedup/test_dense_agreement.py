"""Pictures of densely sampled videos agree moment by moment, up to their motion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.dedup.correlation import PictureAgreement
from pipeline.dedup.dense_agreement import DenseAgreement, compare_dense
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.window import normalized
from pipeline.video.analysis.frame_signature import SIDE

RANGE = (0.0, 10.0)


def frames(pictures: NDArray[Any]) -> SampledFrames:
    count = len(pictures)
    starts: Any = np.arange(count) * 0.5
    return SampledFrames(normalized(pictures), starts, np.full(count, 0.5), np.ones(count, bool))


def slides(seed: int, *, template: float = 4.0) -> NDArray[Any]:
    """Two slides of one template, each shown for five seconds, between titles that all videos share."""
    title, page = np.random.default_rng(0).normal(size=(2, 1, SIDE, SIDE))
    texts = np.random.default_rng(seed).normal(size=(2, 1, SIDE, SIDE))
    shown = [9 * title, *(template * page + text for text in texts for _ in range(9)), 9 * title]
    return np.concatenate([np.broadcast_to(picture, (1, SIDE, SIDE)) for picture in shown])


def test_a_noisy_copy_of_slides_agrees_and_other_slides_with_one_rhythm_do_not() -> None:
    noise = 0.05 * np.random.default_rng(1).normal(size=(20, SIDE, SIDE))
    copy = compare_dense(frames(slides(2)), frames(slides(2) + noise), 0.0, RANGE)
    other = compare_dense(frames(slides(2)), frames(slides(3)), 0.0, RANGE)
    assert copy.is_sufficient(is_certain=False)
    assert other.pictures.similarity > 0.8  # the template alone
    assert not other.is_sufficient(is_certain=True)


def test_a_logo_in_a_corner_does_not_matter() -> None:
    with_logo = slides(4)
    with_logo[:, 1:4, 12:15] = 9
    assert compare_dense(frames(slides(4)), frames(with_logo), 0.0, RANGE).is_sufficient(is_certain=False)


def test_pictures_in_motion_may_differ_by_what_moves_between_two_samples() -> None:
    rng = np.random.default_rng(5)
    room, moves = 6 * rng.normal(size=(1, SIDE, SIDE)), 2 * rng.normal(size=(20, SIDE, SIDE))
    late = room + 0.8 * moves + 0.2 * np.roll(moves, 1, axis=0)
    found = compare_dense(frames(room + moves), frames(late), 0.0, RANGE)
    assert found.is_sufficient(is_certain=True)
    still = np.broadcast_to(room + moves[:1], late.shape)
    assert not compare_dense(frames(room + moves), frames(still), 0.0, RANGE).is_sufficient(is_certain=True)


@pytest.mark.parametrize(
    ("excess", "explained", "is_certain", "expected"),
    [
        ([0.05, 0.05, 0.05, 0.9], 0.1, True, True),
        ([0.05, 0.05, 0.05, 0.9], 0.1, False, False),
        ([0.05, 0.05, 0.05, 0.9], 0.95, False, True),
        ([0.02, 0.02, 0.02, 0.9], 0.1, False, True),
        ([0.07, 0.07, 0.0, 0.0], 0.95, True, False),
    ],
)
def test_an_uncertain_offset_needs_closer_pictures_or_the_same_changes(
    excess: list[float], explained: float, is_certain: bool, expected: bool
) -> None:
    pictures = PictureAgreement(0.9, 0.0, -1.0, 0.1, 0.1, 4)
    found = DenseAgreement(pictures, np.array(excess), explained)
    assert found.is_sufficient(is_certain=is_certain) == expected


def test_still_ranges_must_be_almost_equal() -> None:
    still = PictureAgreement(0.98, 1.0, -1.0, 1e-4, 1e-4, 4)
    found = DenseAgreement(still, np.zeros(4), 1.0)
    assert not found.is_sufficient(is_certain=True)
    assert found._replace(pictures=still._replace(similarity=0.99)).is_sufficient(is_certain=False)


def test_ranges_without_a_common_time_or_unlike_pictures_do_not_agree() -> None:
    one = frames(slides(6))
    assert not compare_dense(one, one, 500.0, RANGE).is_sufficient(is_certain=True)
    unlike = PictureAgreement(0.7, 1.0, -1.0, 0.1, 0.1, 4)
    assert not DenseAgreement(unlike, np.zeros(4), 1.0).is_sufficient(is_certain=True)
