"""The view that two videos have in common, and candidate offsets."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dedup.frame_alignment import candidate_offsets, common_view, common_view_or_center
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
    assert common_view_or_center(black, black) is None


def test_the_center_is_compared_if_it_agrees_better() -> None:
    one, other = frames(GRAYS), frames([*logo(GRAYS)])
    view, center = common_view(one, other), common_view_or_center(one, other)
    assert center is not None
    assert view is None or center.correlation >= view.correlation


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
