"""Images are duplicates if they agree closely."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import numpy as np

from pipeline.dedup.image_similarity import ImageSimilarity
from tests.support.golden import check_golden
from tests.support.inputs.edited_frames import crop, noisy
from tests.support.signatures import scene, signature

IMAGE = ImageSimilarity()


def test_images_with_equal_centers_only_are_not_duplicates() -> None:
    (one,), (other,) = scene(1, 0.5), scene(2, 0.5)
    other = other.copy()
    other[14:50, 14:50] = one[14:50, 14:50]
    assert IMAGE.compare(signature("a", [one], kind="image"), signature("b", [other], kind="image")) is None


def test_edited_images_are_duplicates_and_other_frames_of_a_scene_are_not() -> None:
    grays = scene(1, 0.5)
    a = signature("a", grays, kind="image")
    for change in (noisy, lambda g: crop(g, 2)):
        b = signature("b", change(grays), kind="image")
        assert np.intersect1d(IMAGE.hash_keys(a), IMAGE.hash_keys(b)).size
        found = IMAGE.compare(a, b)
        assert found is not None
        assert (found.containment_a, found.containment_b) == (1, 1)
    assert IMAGE.compare(a, signature("b", scene(1, 0.5, start=1), kind="image")) is None
    assert IMAGE.compare(a, signature("b", [], kind="image")) is None


def test_a_flipped_image_is_a_duplicate_and_marked() -> None:
    grays = scene(1, 0.5)
    a, b = signature("a", grays, kind="image"), signature("b", noisy([g[:, ::-1] for g in grays]), kind="image")
    assert np.intersect1d(IMAGE.hash_keys(a), IMAGE.hash_keys(b)).size
    found = IMAGE.compare(a, b)
    assert found is not None
    assert found.mirrored
    other = signature("c", noisy(grays), kind="image")
    assert (same := IMAGE.compare(a, other)) is not None
    assert not same.mirrored


def test_hash_keys_and_comparisons_change_only_with_the_version() -> None:
    grays = scene(1, 0.5)
    a, b = signature("a", grays, kind="image"), signature("b", noisy(grays), kind="image")
    keys = [hashlib.sha256(IMAGE.hash_keys(one).astype("<u8").tobytes()).hexdigest() for one in (a, b)]
    found = IMAGE.compare(a, b)
    assert found is not None
    check_golden("image_similarity", list(asdict(IMAGE).values()), {"keys": keys, "shared": asdict(found)})
