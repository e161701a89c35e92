"""The correlation of changes agrees with a direct computation; pictures agree by what changes in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.dedup.correlation import (
    PictureAgreement,
    compare_pictures,
    correlation,
    correlation_of_changes,
    misfit,
)
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.window import blurred, normalized
from pipeline.video.analysis.frame_signature import SIDE


def test_the_correlation_of_changes_agrees_with_a_direct_computation() -> None:
    rng = np.random.default_rng(1)
    q, r = (normalized(rng.normal(size=(9, SIDE, SIDE)) + 3 * rng.normal(size=(1, SIDE, SIDE))) for _ in range(2))
    change, energy = correlation_of_changes(q, r)
    for i in range(9):
        part = slice(max(0, i - 3), i + 4)
        best = -1.0
        for window in (part, slice(max(0, i - 3), i + 1), slice(i, i + 4)):
            x, y = q[window] - q[window].mean(0), r[window] - r[window].mean(0)
            size = np.sqrt((x * x).sum() * (y * y).sum())
            best = max(best, (x * y).sum() / size if size > 1e-6 else 0.0)
        assert change[i] == pytest.approx(best, abs=1e-3)
        x, y = q[part] - q[part].mean(0), r[part] - r[part].mean(0)
        assert energy[i] == pytest.approx(max((x * x).sum(1).mean(), (y * y).sum(1).mean()), abs=1e-4)


def test_correlation_is_that_of_all_values_together() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(5, 7)).astype(np.float32)
    assert correlation(x, 3 * x) == (pytest.approx(1), pytest.approx(9 * float((x * x).sum()) / 5))
    assert correlation(x, -x)[0] == pytest.approx(-1)


def frames(pictures: NDArray[Any], every_s: float = 2.0) -> SampledFrames:
    count = len(pictures)
    starts: Any = np.arange(count) * every_s
    lengths = np.full(count, every_s)
    return SampledFrames(normalized(pictures), starts, lengths, np.ones(count, bool))


def test_a_noisy_copy_explains_the_changes_and_other_changes_in_the_same_room_do_not() -> None:
    rng = np.random.default_rng(3)
    room = 4 * rng.normal(size=(1, SIDE, SIDE))
    moves, others = rng.normal(size=(2, 30, SIDE, SIDE))
    noise = 0.2 * rng.normal(size=moves.shape)
    one = frames(room + moves)
    copy = compare_pictures(one, frames(room + moves + noise), 0.0, (0.0, 60.0))
    other = compare_pictures(one, frames(room + others), 0.0, (0.0, 60.0))
    assert copy.explained > 0.9
    assert copy.is_sufficient(is_certain=False)
    assert other.similarity > 0.85  # the room alone
    assert other.explained < 0.2
    assert not other.is_sufficient(is_certain=True)


def test_slides_of_one_template_differ_by_more_than_changes_in_them() -> None:
    rng = np.random.default_rng(4)
    template, speaker = 4 * rng.normal(size=(1, SIDE, SIDE)), 0.3 * rng.normal(size=(20, SIDE, SIDE))
    one, other = (frames(template + rng.normal(size=(1, SIDE, SIDE)) + speaker) for _ in range(2))
    found = compare_pictures(one, other, 0.0, (0.0, 40.0))
    assert found.explained < 0
    assert not found.is_sufficient(is_certain=True)


def test_pictures_of_the_best_step_near_an_offset_are_compared() -> None:
    moves = np.random.default_rng(5).normal(size=(40, SIDE, SIDE))
    one = frames(moves)
    late = SampledFrames(one.vectors, one.starts + 0.125, one.lengths, one.is_distinctive)
    assert compare_pictures(one, late, 0.0, (0.0, 80.0)).similarity == pytest.approx(1)


def agreement(**values: float) -> PictureAgreement:
    usual = {"similarity": 0.9, "explained": 0.5, "explained_center": 0.3, "energy": 0.1, "energy_of_videos": 0.1}
    return PictureAgreement(**{**usual, **values}, moments=5)


@pytest.mark.parametrize(
    ("explained", "center", "is_certain", "expected"),
    [
        (0.7, 0.0, True, True),
        (0.7, 0.0, False, False),
        (0.9, 0.0, False, True),
        (0.5, 0.0, True, False),
        (-2.0, 0.6, True, True),
        (-2.0, 0.6, False, False),
        (-2.0, 0.96, False, True),
    ],
)
def test_an_uncertain_offset_needs_better_pictures(
    explained: float, center: float, is_certain: bool, expected: bool
) -> None:
    found = agreement(explained=explained, explained_center=center)
    assert found.is_sufficient(is_certain=is_certain) == expected


def test_a_still_range_must_be_equal_and_more_so_if_the_videos_change_elsewhere() -> None:
    assert agreement(similarity=0.99, energy=1e-4, energy_of_videos=2e-4).is_sufficient(is_certain=False)
    assert not agreement(similarity=0.98, explained=1.0, energy=1e-4, energy_of_videos=2e-4).is_sufficient(
        is_certain=True
    )
    assert not agreement(similarity=0.99, energy=1e-4).is_sufficient(is_certain=False)
    assert agreement(similarity=0.996, energy=1e-4).is_sufficient(is_certain=False)


def test_a_logo_at_the_edge_does_not_change_what_the_center_explains() -> None:
    rng = np.random.default_rng(7)
    pictures = 4 * rng.normal(size=(1, SIDE, SIDE)) + 0.5 * rng.normal(size=(20, SIDE, SIDE))
    with_logo = pictures.copy()
    with_logo[:, 1:4, 12:15] = 9
    found = compare_pictures(frames(pictures), frames(with_logo), 0.0, (0.0, 40.0))
    assert found.explained < 0
    assert found.explained_center > 0.9
    assert found.is_sufficient(is_certain=True)


def test_the_misfit_of_a_small_shift_is_found_and_that_of_other_pictures_is_not() -> None:
    rng = np.random.default_rng(8)
    q, other = (blurred(normalized(rng.normal(size=(1, SIDE, SIDE)))) for _ in range(2))
    square = q.reshape(1, SIDE, SIDE)
    shifted = 0.8 * square + 0.2 * np.roll(square, 1, axis=2)
    shifted[:, :, 0] = square[:, :, 0]
    r = shifted.reshape(1, -1)
    assert np.linalg.norm(r - q - misfit(q, r)) < 0.5 * np.linalg.norm(r - q)
    assert np.linalg.norm(other - q - misfit(q, other)) > 0.6 * np.linalg.norm(other - q)


def test_videos_without_a_common_time_do_not_agree() -> None:
    one = frames(np.random.default_rng(6).normal(size=(9, SIDE, SIDE)))
    assert not compare_pictures(one, one, 500.0, (0.0, 18.0)).is_sufficient(is_certain=True)
