"""The view that two videos have in common, and candidate offsets."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dedup.alignment.frame_alignment import candidate_offsets, common_view, common_views
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.video.analysis.frame_signature import GRAY_SIDE
from tests.support.inputs.edited_frames import crop, logo
from tests.support.signatures import scene, signature

GRAYS = scene(3, 6)


def frames(grays: list[np.ndarray]) -> SampledFrames:
    return SampledFrames.of(signature("x", grays))


def test_equal_videos_need_no_window() -> None:
    one, other = frames(GRAYS), frames(GRAYS)
    view = common_view(one, other)
    assert view is not None
    assert view.one is one
    assert view.other is other
    assert view.correlation == pytest.approx(1)


@pytest.mark.parametrize("swap", [False, True])
def test_the_uncropped_video_is_cropped_to_the_window_of_its_copy(swap: bool) -> None:
    whole, cropped = frames(GRAYS), frames(crop(GRAYS, 4))
    view = common_view(cropped, whole) if swap else common_view(whole, cropped)
    assert view is not None
    assert (view.one if swap else view.other) is cropped
    correlation = np.einsum("nc,nc->n", view.one.vectors, view.other.vectors)
    assert correlation.min() > np.einsum("nc,nc->n", whole.vectors, cropped.vectors).min()
    assert view.correlation > 0.95


def test_unrelated_videos_have_no_common_view() -> None:
    assert common_view(frames(scene(1, 0.5)), frames(scene(2, 0.5))) is None
    black = frames([np.zeros((GRAY_SIDE, GRAY_SIDE), np.uint8)])
    assert common_view(black, frames(GRAYS)) is None
    assert common_views(black, black) == []


def test_the_centers_are_a_view_unless_the_whole_pictures_agree() -> None:
    assert len(common_views(frames(GRAYS), frames(GRAYS))) == 1
    views = common_views(frames(GRAYS), frames([*logo(GRAYS)]))
    assert max(view.correlation for view in views) == views[-1].correlation > 0.95


@pytest.mark.parametrize("swap", [False, True])
def test_the_window_of_a_crop_is_found_where_whole_pictures_do_not_resemble_each_other(swap: bool) -> None:
    rows = np.sin(np.arange(GRAY_SIDE) * 0.7)[:, None] * 60 + 120
    rng = np.random.default_rng(4)
    blobs = [np.kron(rng.uniform(-40, 40, (8, 8)), np.ones((8, 8))) for _ in range(12)]
    grays = [np.clip(rows + blob, 0, 255).astype(np.uint8) for blob in blobs]
    whole, cropped = frames(grays), frames(crop(grays, 5))
    assert np.median(np.einsum("nc,nc->n", whole.vectors, cropped.vectors)) < 0.7
    view = common_view(cropped, whole) if swap else common_view(whole, cropped)
    assert view is not None
    assert np.median(np.einsum("nc,nc->n", view.one.vectors, view.other.vectors)) > 0.85


@pytest.mark.parametrize("offset", [-2.0, 0.0, 1.5])
def test_the_true_offset_is_a_candidate(offset: float) -> None:
    start = max(0.0, -offset)
    one, other = scene(3, 6, start=start), scene(3, 6, start=start + offset)
    found = candidate_offsets(frames(one), frames(other)).likely
    assert -offset in found
    assert len(set(found)) == len(found) <= 24


def test_the_offset_of_a_copy_stands_out_unless_the_video_repeats() -> None:
    once, twice = scene(3, 6), scene(3, 6) + scene(3, 6)
    assert candidate_offsets(frames(once), frames(once)).stands_out(0.0)
    assert not candidate_offsets(frames(once), frames(once)).stands_out(4.0)
    assert not candidate_offsets(frames(once), frames(twice)).stands_out(0.0)


def test_videos_without_distinctive_frames_have_no_candidate_offsets() -> None:
    black = frames([np.zeros((GRAY_SIDE, GRAY_SIDE), np.uint8)] * 3)
    assert candidate_offsets(black, black).likely == []
    assert not candidate_offsets(black, black).stands_out(0.0)
