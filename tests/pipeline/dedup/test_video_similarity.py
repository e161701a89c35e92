"""What videos share, on grays that a test makes: drifting shapes, parts of them, and things that look like them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.dedup.correlation import correlation_of_changes
from pipeline.dedup.frame_keys import VIEWS, _views, sign_keys
from pipeline.dedup.image_similarity import ImageSimilarity
from pipeline.dedup.overlay import overlay
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.similarity import Shared, Signature
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.dedup.window import Window, find_window, normalized
from pipeline.video.analysis.frame_signature import GRAY_SIDE, SIDE, signature_pictures
from tests.support.golden import check_golden
from tests.support.signatures import scene, signature

VIDEO, IMAGE = VideoSimilarity(), ImageSimilarity()
Grays = Sequence[NDArray[np.uint8]]


def compare(a: Signature, b: Signature) -> Shared | None:
    """Compare, and check that the other way round gives the same."""
    found, back = VIDEO.compare(a, b), VIDEO.compare(b, a)
    assert (found is None) == (back is None)
    if found and back:
        assert (found.containment_a, found.shared_a) == (back.containment_b, back.shared_b)
        assert (found.containment_b, found.shared_b) == (back.containment_a, back.shared_a)
    return found


def crop(grays: Grays, margin: int) -> list[NDArray[np.uint8]]:
    """Cut `margin` of 64 pixels off each side, and stretch the rest."""
    inner = [Image.fromarray(g[margin : GRAY_SIDE - margin, margin : GRAY_SIDE - margin]) for g in grays]
    return [np.asarray(picture.resize((GRAY_SIDE, GRAY_SIDE), Image.Resampling.BILINEAR)) for picture in inner]


def logo(grays: Grays) -> list[NDArray[np.uint8]]:
    marked = [gray.copy() for gray in grays]
    for gray in marked:
        gray[4:14, 46:60] = 250
    return marked


def globe(grays: Grays) -> list[NDArray[np.uint8]]:
    """What is seen of the grays on a dim globe in the dark."""
    y, x = np.mgrid[:GRAY_SIDE, :GRAY_SIDE]
    inside = (x - 26) ** 2 + (y - 32) ** 2 < 17**2
    return [np.where(inside, gray // 6, 0).astype(np.uint8) for gray in grays]


def barred(grays: Grays) -> list[NDArray[np.uint8]]:
    """The grays with a black bar above and below, a fifth of the height each."""
    bar = GRAY_SIDE // 5
    small = [Image.fromarray(g).resize((GRAY_SIDE, GRAY_SIDE - 2 * bar), Image.Resampling.BILINEAR) for g in grays]
    return [np.pad(np.asarray(picture), ((bar, bar), (0, 0))) for picture in small]


def noisy(grays: Grays) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(5)
    return [np.clip(g * 0.7 + 40 + rng.normal(0, 6, g.shape), 0, 255).astype(np.uint8) for g in grays]


@pytest.mark.parametrize("calm", [False, True])
@pytest.mark.parametrize(
    "change", [noisy, logo, lambda g: crop(g, 2), lambda g: crop(g, 4)], ids=["noisy", "logo", "crop 3%", "crop 6%"]
)
def test_a_changed_copy_meets_under_its_keys_and_is_all_there(change: Any, calm: bool) -> None:
    grays = scene(3, 8, calm=calm)
    a, b = signature("a", grays), signature("b", change(grays))
    assert len(np.intersect1d(VIDEO.hash_keys(a), VIDEO.hash_keys(b))) >= VIDEO.min_collisions
    found = compare(a, b)
    assert found is not None
    assert min(found.containment_a, found.containment_b) > 0.9
    assert 0.8 < found.similarity <= 1


@pytest.mark.parametrize("change", [logo, barred])
def test_a_copy_of_a_globe_in_the_dark_is_found_with_a_logo_or_bars(change: Any) -> None:
    grays = globe(scene(3, 8))
    a, b = signature("a", grays), signature("b", change(grays))
    assert len(np.intersect1d(VIDEO.hash_keys(a), VIDEO.hash_keys(b))) >= VIDEO.min_collisions
    found = compare(a, b)
    assert found is not None
    assert min(found.containment_a, found.containment_b) > 0.9
    later = compare(a, signature("c", change(globe(scene(3, 8, start=40)))))
    assert (
        later is None or max(later.containment_a, later.containment_b) < 0.5
    )  # silhouettes are alike; far from a copy


def test_a_middle_in_common_is_no_copy_of_an_image() -> None:
    (one,), (other,) = scene(1, 0.5), scene(2, 0.5)
    other = other.copy()
    other[14:50, 14:50] = one[14:50, 14:50]
    assert IMAGE.compare(signature("a", [one], kind="image"), signature("b", [other], kind="image")) is None


@given(start=st.floats(0.5, 5), seconds=st.floats(3, 6))
@settings(deadline=None, max_examples=6)
def test_a_part_is_found_where_it_is_whatever_its_grid(start: float, seconds: float) -> None:
    found = compare(signature("whole", scene(4, 12)), signature("part", scene(4, seconds, start=start)))
    assert found is not None
    assert found.containment_b > 0.85
    assert found.containment_a == pytest.approx(seconds / 12, abs=0.1)
    ((begin, end),) = found.shared_a
    assert (begin, end) == (pytest.approx(start, abs=0.3), pytest.approx(start + seconds, abs=0.8))


@pytest.mark.parametrize("step", [2.0, 3.0])
def test_a_dense_clip_is_found_in_a_film_that_is_seen_at_its_keyframes(step: float) -> None:
    film = signature("film", scene(6, 60, step=step), step=step)
    found = compare(film, signature("clip", scene(6, 12, start=20.8)))
    assert found is not None
    assert found.containment_b > 0.8
    assert found.containment_a == pytest.approx(0.2, abs=0.06)
    assert found.shared_a[0][0] == pytest.approx(20.8, abs=0.6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("calm", [False, True])
def test_the_next_part_of_a_video_is_not_the_same(seed: int, calm: bool) -> None:
    one, other = scene(seed, 6, calm=calm), scene(seed, 6, start=40, calm=calm)
    found = compare(signature("a", one), signature("b", other))
    assert found is None or max(found.containment_a, found.containment_b) < 0.5


def test_a_shared_intro_covers_the_intro_only_and_a_shared_end_the_end() -> None:
    intro, end = scene(50, 4), scene(51, 4)
    one, other = scene(1, 8), scene(2, 14)
    found = compare(signature("a", [*intro, *one, *end]), signature("b", [*intro, *other, *end]))
    assert found is not None
    assert found.containment_a == pytest.approx(8 / 16, abs=0.08)
    assert found.containment_b == pytest.approx(8 / 22, abs=0.08)
    assert [round(start) for start, _ in found.shared_b] == [0, 18]


def test_black_and_plain_frames_are_no_evidence() -> None:
    black = [np.zeros((GRAY_SIDE, GRAY_SIDE), np.uint8)] * 12
    assert VIDEO.hash_keys(signature("a", black)).size == 0
    assert compare(signature("a", black), signature("b", black)) is None
    found = compare(signature("a", [*black, *scene(1, 6)]), signature("b", [*black, *scene(2, 6)]))
    assert found is None


def test_a_fade_through_black_does_not_break_what_is_shared() -> None:
    black = [np.zeros((GRAY_SIDE, GRAY_SIDE), np.uint8)] * 4
    grays = [*black, *scene(1, 4), *black, *scene(2, 4)]
    found = compare(signature("a", grays), signature("b", noisy(grays[:4]) * 0 + [*black, *noisy(grays[4:])]))
    assert found is not None
    assert (found.containment_a, len(found.shared_a)) == (1.0, 1)


def test_a_still_picture_must_agree_closely() -> None:
    still = scene(8, 0.5) * 12
    found = compare(signature("a", still), signature("b", still))
    assert found is not None
    assert found.containment_a == 1
    later = scene(8, 0.5, start=0.5) * 12
    assert compare(signature("a", still), signature("b", later)) is None


def test_nothing_at_all_shares_nothing() -> None:
    assert compare(signature("a", []), signature("b", scene(1, 3))) is None
    assert VIDEO.hash_keys(signature("a", [])).shape == (0, 2 * VIEWS * VIDEO.tables)


def test_images_agree_closely_or_not_at_all() -> None:
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


def test_keys_do_not_depend_on_brightness_and_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    fall = 1 / np.maximum(1, np.hypot(*np.mgrid[:SIDE, :SIDE]))
    angle = np.pi * np.outer(np.arange(SIDE), np.arange(SIDE) + 0.5) / SIDE
    made = np.cos(angle).T @ (rng.normal(size=(2000, SIDE, SIDE)) * fall) @ np.cos(angle)  # as in real pictures
    pictures = np.clip(128 + 20 * made, 0, 255).astype(np.uint8)
    keys = sign_keys(pictures, tables=4, bits=28)
    darker = sign_keys(pictures // 2 + 20, tables=4, bits=28)
    assert np.mean(keys == darker) > 0.5
    _, counts = np.unique(np.sort(keys, axis=1)[:, 0], return_counts=True)
    assert len(np.unique(keys)) > 0.8 * keys.size
    assert counts.max() < 8


def test_where_the_light_is_looks_the_same_whatever_black_lies_around_it() -> None:
    grays = globe(scene(3, 4))
    one, other = (
        signature_pictures(signature("", given).samples).astype(np.float32) for given in (grays, barred(grays))
    )
    views = zip(_views(one).swapaxes(0, 1), _views(other).swapaxes(0, 1), strict=True)
    alike = [np.einsum("nc,nc->n", normalized(p), normalized(q)) for p, q in views]
    assert alike[-1].min() > 0.9 > np.median(alike[:-1], axis=1).max()


def test_a_view_with_nothing_in_it_gives_no_key_that_others_have() -> None:
    one, other = scene(1, 0.5)[0], scene(2, 0.5)[0]
    for gray in (one, other):
        gray[12:52, 12:52] = 128
    a, b = (VIDEO.hash_keys(signature("", [gray])) for gray in (one, other))
    assert len(np.intersect1d(a, b)) == 0


def test_the_window_of_a_crop_is_found() -> None:
    grays = np.stack(scene(9, 4))
    one = normalized(np.stack([g.reshape(SIDE, 4, SIDE, 4).mean((1, 3)) for g in grays]))
    given_window = Window(0.05, 0.02, 0.08, 0.0)
    found = find_window(one, given_window.crop(one))
    assert found == pytest.approx(given_window, abs=0.016)


def test_changes_correlate_as_the_slow_way_says() -> None:
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


def test_between_two_samples_there_is_a_mixture() -> None:
    grays = scene(2, 5)
    whole = SampledFrames.of(signature("a", grays))
    over = overlay(SampledFrames.of(signature("b", scene(2, 2, start=1.25))), whole, 1.25)
    assert over.sample.tolist() == [0, 1, 2, 3]
    assert np.einsum("nc,nc->n", over.one, over.other).min() > 0.98
    nearest = whole.vectors[[2, 3, 4, 5]]
    assert np.einsum("nc,nc->n", over.one, nearest).max() < np.einsum("nc,nc->n", over.one, over.other).max()


def test_hash_keys_and_comparisons_change_only_with_the_version() -> None:
    grays = scene(3, 3)
    a, b = signature("a", grays), signature("b", noisy(grays))
    keys = [hashlib.sha256(VIDEO.hash_keys(one).astype("<u8").tobytes()).hexdigest() for one in (a, b)]
    found = VIDEO.compare(a, b)
    assert found is not None
    check_golden("video_similarity", list(asdict(VIDEO).values()), {"keys": keys, "shared": asdict(found)})
