"""The ranges in which two videos agree at an offset."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dedup.alignment.video_alignment import AlignmentThresholds, align, best_alignment
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.video.analysis.frame_signature import GRAY_SIDE
from tests.support.signatures import scene, signature

THRESHOLDS = AlignmentThresholds()


def frames(grays: list[np.ndarray], step: float = 0.5) -> SampledFrames:
    return SampledFrames.of(signature("x", grays, step=step))


def test_videos_agree_at_their_offset_only() -> None:
    one, other = frames(scene(4, 8)), frames(scene(4, 8, start=2))
    found = align(one, other, -2.0, THRESHOLDS, is_certain=True)
    assert found is not None
    assert (found.ranges_a, found.ranges_b) == (((2.0, 8.0),), ((0.0, 6.0),))
    assert found.similarity > 0.99
    assert align(one, other, 3.0, THRESHOLDS, is_certain=True) is None


def test_the_video_with_fewer_samples_is_laid_over_the_other() -> None:
    dense, sparse = frames(scene(4, 8)), frames(scene(4, 8, step=2.0), step=2.0)
    found, back = (align(*pair, 0.0, THRESHOLDS, is_certain=True) for pair in ((dense, sparse), (sparse, dense)))
    assert found is not None
    assert back is not None
    assert found == back.swapped()
    assert found.ranges_a == ((0.0, 8.0),)


def test_the_best_offset_is_within_one_sample_of_the_true_one() -> None:
    found = best_alignment(frames(scene(4, 8)), frames(scene(4, 8, start=1.12)), THRESHOLDS)
    assert found is not None
    assert found.offset == pytest.approx(-1.12, abs=0.5)
    assert best_alignment(frames(scene(4, 8)), frames(scene(5, 8)), THRESHOLDS) is None


def test_dense_videos_that_move_alike_do_not_agree_if_their_pictures_differ() -> None:
    rng = np.random.default_rng(1)
    moving = np.cumsum(rng.normal(size=(24, 1, GRAY_SIDE)), axis=0).repeat(GRAY_SIDE, axis=1)
    rooms = [120 + 25 * rng.normal(size=(8, 8)).repeat(8, axis=0).repeat(8, axis=1) for _ in range(2)]
    one, other = (frames([*np.clip(room + moving, 0, 255).astype(np.uint8)]) for room in rooms)
    assert align(one, one, 0.0, THRESHOLDS, is_certain=True) is not None
    assert align(one, other, 0.0, THRESHOLDS, is_certain=True) is None
