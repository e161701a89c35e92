from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import ConfigError, InputError
from tokenizer.training.crops import CropConfig, crops, require_frames

PLAIN = CropConfig(size=4, recolor=0.0)


def numbered(count: int) -> NDArray[np.uint8]:
    """Return frames of 4 x 6 pixels; every pixel is the number of its frame."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 6, 3))


def numbers(seed: int, step: int, *, count: int = 50) -> list[int]:
    return crops(numbered(count), batch=16, config=PLAIN, seed=seed, step=step)[:, 0, 0, 0].tolist()


def test_crops_are_windows_of_the_frames_and_some_are_mirrored() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (1, 5, 7, 3), dtype=np.uint8)
    windows = {frame[0, i : i + 4, j : j + 4].tobytes() for i in range(2) for j in range(4)}
    mirrored = {frame[0, i : i + 4, j : j + 4][:, ::-1].tobytes() for i in range(2) for j in range(4)}
    seen = {crop.tobytes() for crop in crops(frame, batch=300, config=PLAIN, seed=0, step=0)}
    assert seen == windows | mirrored


def test_zoom_crops_larger_squares_within_the_frame_and_downscales_them() -> None:
    stairs = np.broadcast_to(np.arange(0, 240, 10, dtype=np.uint8)[None, None, :, None], (1, 24, 24, 3))
    for zoom, widest in ((1.0, 10), (2.0, 20), (8.0, 60)):  # a frame of 24 pixels limits the zoom to 6
        batch = crops(stairs, batch=400, config=CropConfig(size=4, recolor=0, zoom=zoom), seed=0, step=0)
        assert batch.shape == (400, 4, 4, 3)
        slopes = np.abs(batch[:, 0, 1:, 0].astype(int) - batch[:, 0, :-1, 0]).mean(1)
        assert slopes.min() == 10
        assert 0.8 * widest <= slopes.max() <= widest
        assert zoom == 1 or 0.3 < np.mean(slopes > 10 * np.sqrt(widest / 10)) < 0.6  # half are above the geometric mean


def test_recoloring_permutes_the_channels() -> None:
    frame = np.broadcast_to(np.array([10, 20, 30], np.uint8), (1, 4, 4, 3))
    batch = crops(frame, batch=600, config=CropConfig(size=4, recolor=0.5), seed=0, step=0)
    colors, counts = np.unique(batch[:, 0, 0], axis=0, return_counts=True)
    assert len(colors) == 6
    assert counts.max() == counts[colors[:, 0].tolist().index(10)]  # not permuted
    assert 300 < counts.max() < 400  # half of the crops, and a sixth of the other half


def test_a_batch_depends_only_on_seed_and_step() -> None:
    assert numbers(0, 7) == numbers(0, 7)
    assert numbers(0, 7) != numbers(0, 8)
    assert numbers(0, 7) != numbers(1, 7)


def test_all_frames_are_used_and_batches_mix_them() -> None:
    drawn = [numbers(0, step, count=20) for step in range(30)]
    assert {n for batch in drawn for n in batch} == set(range(20))
    assert sum(min(batch) < 10 <= max(batch) for batch in drawn) > 25


def test_missing_frames_and_frames_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(InputError, match="no frame to train on"):
        require_frames(numbered(0), PLAIN)
    with pytest.raises(ConfigError, match="crop.size is 8 pixels, but a frame has 4x6"):
        require_frames(numbered(1), CropConfig(size=8))
    with pytest.raises(ConfigError, match=r"frames must be uint8 \[n, H, W, 3\], got float64"):
        require_frames(np.zeros((1, 4, 4, 3)), PLAIN)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="recolor must be a share from 0 to 1, got 1.5"):
        CropConfig(recolor=1.5)
    with pytest.raises(ConfigError, match="zoom must be at least 1, got 0.5"):
        CropConfig(zoom=0.5)
