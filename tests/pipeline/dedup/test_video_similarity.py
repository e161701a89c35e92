"""What videos share: edited copies, parts, shared intros, and videos that only resemble each other."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.frame_keys import VIEWS
from pipeline.dedup.similarity import Shared, Signature
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.video.analysis.frame_signature import GRAY_SIDE
from tests.support.golden import check_golden
from tests.support.inputs.edited_frames import barred, crop, globe, logo, noisy
from tests.support.signatures import scene, signature

VIDEO = VideoSimilarity()


def compare(a: Signature, b: Signature) -> Shared | None:
    """Compare, and check that the other way round gives the same."""
    found, back = VIDEO.compare(a, b), VIDEO.compare(b, a)
    assert (found is None) == (back is None)
    if found and back:
        assert (found.containment_a, found.shared_a) == (back.containment_b, back.shared_b)
        assert (found.containment_b, found.shared_b) == (back.containment_a, back.shared_a)
    return found


@pytest.mark.parametrize("calm", [False, True])
@pytest.mark.parametrize(
    "change", [noisy, logo, lambda g: crop(g, 2), lambda g: crop(g, 4)], ids=["noisy", "logo", "crop 3%", "crop 6%"]
)
def test_an_edited_copy_collides_and_is_contained(change: Any, calm: bool) -> None:
    grays = scene(3, 8, calm=calm)
    a, b = signature("a", grays), signature("b", change(grays))
    assert len(np.intersect1d(VIDEO.hash_keys(a), VIDEO.hash_keys(b))) >= VIDEO.min_collisions
    found = compare(a, b)
    assert found is not None
    assert min(found.containment_a, found.containment_b) > 0.9
    assert 0.8 < found.similarity <= 1


@pytest.mark.parametrize("change", [logo, barred])
def test_a_copy_of_a_dark_video_is_found_with_a_logo_or_bars(change: Any) -> None:
    grays = globe(scene(3, 8))
    a, b = signature("a", grays), signature("b", change(grays))
    assert len(np.intersect1d(VIDEO.hash_keys(a), VIDEO.hash_keys(b))) >= VIDEO.min_collisions
    found = compare(a, b)
    assert found is not None
    assert min(found.containment_a, found.containment_b) > 0.9
    later = compare(a, signature("c", change(globe(scene(3, 8, start=40)))))
    assert (
        later is None or max(later.containment_a, later.containment_b) < 0.5
    )  # silhouettes resemble each other, but are no copies


@pytest.mark.slow
@given(start=st.floats(0.5, 5), seconds=st.floats(3, 6))
@settings(deadline=None, max_examples=6)
def test_a_part_is_found_at_its_place_whatever_its_sampling_times(start: float, seconds: float) -> None:
    found = compare(signature("whole", scene(4, 12)), signature("part", scene(4, seconds, start=start)))
    assert found is not None
    assert found.containment_b > 0.85
    assert found.containment_a == pytest.approx(seconds / 12, abs=0.1)
    ((begin, end),) = found.shared_a
    assert (begin, end) == (pytest.approx(start, abs=0.3), pytest.approx(start + seconds, abs=0.8))


@pytest.mark.parametrize("step", [2.0, 3.0])
def test_a_densely_sampled_clip_is_found_in_a_sparsely_sampled_film(step: float) -> None:
    film = signature("film", scene(6, 60, step=step), step=step)
    found = compare(film, signature("clip", scene(6, 12, start=20.8)))
    assert found is not None
    assert found.containment_b > 0.8
    assert found.containment_a == pytest.approx(0.2, abs=0.06)
    assert found.shared_a[0][0] == pytest.approx(20.8, abs=0.6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("calm", [False, True])
def test_another_part_of_a_video_is_not_contained(seed: int, calm: bool) -> None:
    one, other = scene(seed, 6, calm=calm), scene(seed, 6, start=40, calm=calm)
    found = compare(signature("a", one), signature("b", other))
    assert found is None or max(found.containment_a, found.containment_b) < 0.5


def test_a_shared_intro_and_a_shared_ending_are_two_ranges() -> None:
    intro, end = scene(50, 4), scene(51, 4)
    one, other = scene(1, 8), scene(2, 14)
    found = compare(signature("a", [*intro, *one, *end]), signature("b", [*intro, *other, *end]))
    assert found is not None
    assert found.containment_a == pytest.approx(8 / 16, abs=0.08)
    assert found.containment_b == pytest.approx(8 / 22, abs=0.08)
    assert [round(start) for start, _ in found.shared_b] == [0, 18]


def test_black_frames_do_not_count() -> None:
    black = [np.zeros((GRAY_SIDE, GRAY_SIDE), np.uint8)] * 12
    assert VIDEO.hash_keys(signature("a", black)).size == 0
    assert compare(signature("a", black), signature("b", black)) is None
    found = compare(signature("a", [*black, *scene(1, 6)]), signature("b", [*black, *scene(2, 6)]))
    assert found is None


def test_a_fade_through_black_does_not_split_a_shared_range() -> None:
    black = [np.zeros((GRAY_SIDE, GRAY_SIDE), np.uint8)] * 4
    grays = [*black, *scene(1, 4), *black, *scene(2, 4)]
    found = compare(signature("a", grays), signature("b", noisy(grays[:4]) * 0 + [*black, *noisy(grays[4:])]))
    assert found is not None
    assert (found.containment_a, len(found.shared_a)) == (1.0, 1)


def test_still_videos_must_agree_closely() -> None:
    still = scene(8, 0.5) * 12
    found = compare(signature("a", still), signature("b", still))
    assert found is not None
    assert found.containment_a == 1
    later = scene(8, 0.5, start=0.5) * 12
    assert compare(signature("a", still), signature("b", later)) is None


@pytest.mark.parametrize("calm", [False, True])
def test_a_flipped_copy_collides_and_is_contained(calm: bool) -> None:
    grays = scene(3, 8, calm=calm)
    a, b = signature("a", grays), signature("b", noisy([np.ascontiguousarray(g[:, ::-1]) for g in grays]))
    assert len(np.intersect1d(VIDEO.hash_keys(a), VIDEO.hash_keys(b))) >= VIDEO.min_collisions
    found = compare(a, b)
    assert found is not None
    assert found.mirrored
    assert min(found.containment_a, found.containment_b) > 0.9


def test_an_empty_signature_shares_nothing() -> None:
    assert compare(signature("a", []), signature("b", scene(1, 3))) is None
    assert VIDEO.hash_keys(signature("a", [])).shape == (0, 4 * VIEWS * VIDEO.tables)


def test_hash_keys_and_comparisons_change_only_with_the_version() -> None:
    grays = scene(3, 3)
    a, b = signature("a", grays), signature("b", noisy(grays))
    keys = [hashlib.sha256(VIDEO.hash_keys(one).astype("<u8").tobytes()).hexdigest() for one in (a, b)]
    found = VIDEO.compare(a, b)
    assert found is not None
    check_golden("video_similarity", list(asdict(VIDEO).values()), {"keys": keys, "shared": asdict(found)})
