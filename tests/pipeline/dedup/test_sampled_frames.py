"""Frames as vectors: order, neighbors, and what does not count."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dedup.sampled_frames import SampledFrames, clip_extremes, mean_of_neighbors
from pipeline.video.analysis.frame_signature import SIDE
from tests.support.signatures import scene, signature


def test_frames_are_sorted_by_time() -> None:
    grays = scene(1, 2)
    frames = SampledFrames.of(signature("a", grays[::-1], at=[1.5, 1.0, 0.5, 0.0]))
    assert frames.starts.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert np.array_equal(frames.vectors, SampledFrames.of(signature("b", grays)).vectors)
    assert (frames.end, frames.distinctive_s) == (2.0, 2.0)


def test_brightness_and_contrast_do_not_count() -> None:
    grays = scene(1, 2)
    one, other = (SampledFrames.of(signature("a", some)) for some in (grays, [g // 2 + 60 for g in grays]))
    assert np.einsum("nc,nc->n", one.vectors, other.vectors).min() > 0.999


def test_frames_in_removed_ranges_are_not_distinctive() -> None:
    frames = SampledFrames.of(signature("a", scene(1, 3))).without([(0.5, 1.5)])
    assert frames.is_distinctive.tolist() == [True, False, False, True, True, True]
    assert frames.without([]).is_distinctive.tolist() == frames.is_distinctive.tolist()


def test_the_mean_of_neighbors_agrees_with_a_direct_computation() -> None:
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    means = mean_of_neighbors(values, 3, 1)
    expected = np.stack([values[max(0, i - 3) : i + 2].mean(0) for i in range(7)])
    assert means == pytest.approx(expected, abs=1e-6)


def test_still_frames_do_not_change() -> None:
    frames = SampledFrames.of(signature("a", scene(1, 0.5) * 8))
    assert np.abs(frames.changes).max() < 1e-3
    moving = SampledFrames.of(signature("b", scene(1, 4)))
    assert np.linalg.norm(moving.changes, axis=1) == pytest.approx(1, abs=1e-3)


def test_a_logo_is_clipped() -> None:
    picture = np.full((1, SIDE, SIDE), 50, np.uint8)
    picture[0, :, 8:] = 90
    marked = picture.copy()
    marked[0, 1:4, 11:15] = 255  # 12 cells
    assert np.array_equal(clip_extremes(marked), clip_extremes(picture))


def test_mirroring_twice_gives_the_same_frames() -> None:
    frames = SampledFrames.of(signature("a", scene(1, 2)))
    flipped = SampledFrames.of(signature("b", [g[:, ::-1] for g in scene(1, 2)]))
    assert np.allclose(frames.mirrored().vectors, flipped.vectors, atol=1e-6)
    assert np.array_equal(frames.mirrored().mirrored().vectors, frames.vectors)


def test_thinned_frames_are_half_a_second_apart() -> None:
    dense = SampledFrames.of(signature("a", scene(1, 3, step=0.25), step=0.25))
    thin = dense.thinned()
    assert thin.starts.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert thin.lengths.tolist() == [0.5] * 6
    assert np.array_equal(thin.vectors, dense.vectors[::2])
    assert thin.thinned() is thin
    assert not thin.is_sparse
    assert SampledFrames.of(signature("b", scene(1, 6, step=2), step=2)).is_sparse


def test_changes_are_relative_to_the_mean_of_the_time_around() -> None:
    frames = SampledFrames.of(signature("a", scene(1, 60, step=2.0), step=2.0))
    near = np.abs(frames.starts - frames.starts[12]) <= 15
    difference = frames.vectors[12] - frames.vectors[near].mean(0)
    assert frames.changes[12] == pytest.approx(difference / np.linalg.norm(difference), abs=1e-4)


def test_the_mean_of_a_range_counts_frames_by_their_lengths() -> None:
    vectors = np.eye(3, SIDE * SIDE, dtype=np.float32)
    frames = SampledFrames(vectors, np.array([0.0, 1.0, 4.0]), np.array([1.0, 3.0, 2.0]), np.ones(3, bool))
    assert frames.mean(0.0, 4.0)[:3] == pytest.approx([0.25, 0.75, 0.0])
    assert frames.mean(100.0, 200.0).tolist() == [0.0] * SIDE * SIDE


def test_the_energy_of_a_video_is_that_of_its_distinctive_frames() -> None:
    grays = scene(2, 4)
    black = [np.zeros_like(grays[0])] * 4
    still, moving = (SampledFrames.of(signature("x", some)) for some in ([grays[0]] * 6, grays))
    assert still.energy == pytest.approx(0, abs=1e-6)
    assert moving.energy > 1e-3
    assert SampledFrames.of(signature("x", grays + black)).energy == pytest.approx(moving.energy, rel=0.01)
    assert SampledFrames.of(signature("x", black)).energy == 0
