"""Frames of two videos at equal times."""

from __future__ import annotations

import numpy as np

from pipeline.dedup.overlay import overlay
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.video.analysis.frame_signature import GRAY_SIDE
from tests.support.signatures import scene, signature


def test_frames_between_two_samples_are_interpolated() -> None:
    grays = scene(2, 5)
    whole = SampledFrames.of(signature("a", grays))
    over = overlay(SampledFrames.of(signature("b", scene(2, 2, start=1.25))), whole, 1.25)
    assert over.sample.tolist() == [0, 1, 2, 3]
    assert np.einsum("nc,nc->n", over.one, over.other).min() > 0.98
    nearest = whole.vectors[[2, 3, 4, 5]]
    assert np.einsum("nc,nc->n", over.one, nearest).max() < np.einsum("nc,nc->n", over.one, over.other).max()


def test_samples_without_a_frame_of_the_other_video_are_left_out() -> None:
    one = SampledFrames.of(signature("a", scene(2, 5)))
    assert overlay(one, one, 0.0).sample.tolist() == list(range(10))
    assert overlay(one, one, 3.0).sample.tolist() == list(range(4))
    assert overlay(one, one, -3.0).sample.tolist() == list(range(6, 10))


def test_blank_frames_are_marked() -> None:
    black = [np.zeros((GRAY_SIDE, GRAY_SIDE), np.uint8)]
    one = SampledFrames.of(signature("a", [*black, *scene(2, 1), *black]))
    over = overlay(one, one, 0.0)
    assert over.is_blank.tolist() == [True, False, False, True]
    assert over.is_distinctive.tolist() == [False, True, True, False]
