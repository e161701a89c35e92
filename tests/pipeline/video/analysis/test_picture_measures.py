"""Each measure on a picture that is made to have it, and on one that is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.video.analysis import picture_measures as measures
from pipeline.video.analysis.picture_measures import Box, resample

Luma = NDArray[np.uint8]
RNG = np.random.default_rng(0)


def texture(height: int, width: int, coarse: int = 8) -> Luma:
    """Return a picture with detail of `coarse` pixels, from black to white."""
    cells = RNG.integers(0, 256, (height // coarse + 1, width // coarse + 1), np.uint8)
    return cells.repeat(coarse, 0).repeat(coarse, 1)[:height, :width]


def framed(picture: Luma, height: int, width: int, top: int, left: int) -> Luma:
    """Return a black frame with compression noise and a picture in it."""
    frame = RNG.integers(0, 6, (height, width)).astype(np.uint8)
    frame[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return frame


def test_resampling_averages_areas() -> None:
    gray = RNG.integers(0, 256, (128, 128)).astype(np.uint8)
    pairs = gray.reshape(64, 2, 64, 2).mean((1, 3))
    assert np.abs(resample(gray, Box(0, 0, 500, 300), (300, 500), 64) - pairs).max() <= 0.5
    inner = resample(gray, Box(125, 75, 250, 150), (300, 500), 64)  # a quarter of the way in on each side
    assert np.array_equal(inner, gray[32:96, 32:96])


def test_bars_do_not_change_the_resampled_picture() -> None:
    picture = texture(96, 128, 5)
    boxed = framed(picture, 128, 128, 16, 0)
    found = resample(boxed, Box(0, 16, 128, 96), (128, 128), 64)
    assert np.array_equal(found, resample(picture, Box(0, 0, 128, 96), (96, 128), 64))
    assert not np.array_equal(found, resample(boxed, Box(0, 0, 128, 128), (128, 128), 64))


def sharpness(picture: Luma, box: Box | None = None) -> float:
    height, width = picture.shape
    return measures.sharpness(measures.tile_detail(picture), box or Box(0, 0, width, height), (height, width))


def test_sharpness_of_sharp_and_blurred_pictures() -> None:
    sharp = texture(256, 448, 4)
    blurred = sharp.astype(float)
    for _ in range(20):
        blurred = (blurred + np.roll(blurred, 1, 0) + np.roll(blurred, 1, 1) + np.roll(blurred, (1, 1), (0, 1))) / 4
    soft = blurred.astype(np.uint8)
    assert sharpness(sharp) > 100 * sharpness(soft)
    before_blur = soft.copy()
    before_blur[60:200, 150:300] = sharp[60:200, 150:300]
    assert sharpness(before_blur) > 50 * sharpness(soft)
    logo = soft.copy()
    logo[10:30, 400:440] = sharp[10:30, 400:440]
    assert sharpness(logo) < 2 * sharpness(soft)
    barred = soft.copy()
    barred[:40] = 0
    assert sharpness(barred, Box(0, 40, 448, 216)) < 2 * sharpness(soft)


def test_grid_steps_of_clean_and_blocky_pictures() -> None:
    smooth = np.add.outer(np.arange(384) / 4, np.arange(640) / 6).astype(np.uint8)
    noise = RNG.integers(-2, 3, smooth.shape)
    clean = (smooth + noise).astype(np.uint8)
    blocks = RNG.integers(-6, 7, (48, 80)).repeat(8, 0).repeat(8, 1)
    assert measures.grid_steps(clean) == pytest.approx(1, abs=0.05)
    assert measures.grid_steps((smooth + 10 + noise + blocks).astype(np.uint8)) > 2
    assert measures.grid_steps(np.roll((smooth + 10 + noise + blocks).astype(np.uint8), 4, (0, 1))) < 1
    assert measures.grid_steps(np.full((64, 64), 16, np.uint8)) == 1
    assert measures.grid_steps(RNG.integers(0, 256, (384, 640)).astype(np.uint8)) == pytest.approx(1, abs=0.05)


def test_comb_share_of_interlaced_motion() -> None:
    one, other = texture(384, 640, 32), np.roll(texture(384, 640, 32), 12, 1)
    woven = one.copy()
    woven[1::2] = other[1::2]
    assert measures.comb_share(woven) > 0.05
    assert measures.comb_share(one) < 0.001
    assert measures.comb_share(np.full((64, 64), 9, np.uint8)) == 0


def test_black_pictures_and_changes() -> None:
    black = RNG.integers(0, 12, (128, 128)).astype(np.uint8)
    titled = black.copy()
    titled[60:64, 40:90] = 255
    assert measures.is_black(black)
    assert measures.is_black(titled)
    assert not measures.is_black(texture(128, 128))
    assert measures.change(black, black) == (0, 0)
    assert measures.change(black, titled).share == pytest.approx(200 / 16384, abs=1e-4)
    assert measures.change(black, texture(128, 128)).share > 0.8


def test_limited_range_is_stretched() -> None:
    assert measures.to_full_range(np.array([0, 16, 126, 235, 255], np.uint8)).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("shape", [(26, 31), (256, 455), (256, 1024)])
@pytest.mark.parametrize("turns", [0, 1])
def test_detail_is_the_variance_of_the_laplacian_bit_for_bit(shape: tuple[int, int], turns: int) -> None:
    picture = np.rot90(RNG.integers(0, 256, shape, np.uint8), turns)
    y = picture.astype(np.int16)
    laplacian = 4 * y[1:-1, 1:-1] - y[:-2, 1:-1] - y[2:, 1:-1] - y[1:-1, :-2] - y[1:-1, 2:]
    height, width = (side // measures.TILES for side in laplacian.shape)
    tiles = laplacian[: 8 * height, : 8 * width].reshape(8, height, 8, width).astype(np.float32)
    assert np.array_equal(measures.tile_detail(picture), tiles.var((1, 3)))


def test_grid_steps_and_comb_share_equal_their_definitions() -> None:
    y = texture(389, 645, 8)
    y[::3] //= 2
    x = y.astype(np.int16)

    def ratio(steps: NDArray[np.int16]) -> float:
        columns = np.minimum(np.abs(steps), 24).mean(0)
        by_phase = columns[: len(columns) // 8 * 8].reshape(-1, 8).mean(0)
        return float((by_phase[7] + 0.5) / (by_phase[1:7:2].mean() + 0.5))

    assert measures.grid_steps(y) == (ratio(np.diff(x, axis=1)) + ratio(np.diff(x, axis=0).T)) / 2
    above, row, below, after = x[:-3], x[1:-2], x[2:-1], x[3:]
    combed = (np.abs(row - above) > 14) & (np.abs(row - below) > 14)
    combed &= (np.abs(above - below) < 10) & (np.abs(row - after) < 10)
    assert 0 < measures.comb_share(y) == combed.mean()


def test_a_whole_picture_is_resampled_as_with_weights() -> None:
    for _ in range(20):
        gray = RNG.integers(0, 256, (128, 128), np.uint8)
        halves = np.eye(64).repeat(2, 1) / 2
        expected = np.rint(halves @ gray.astype(np.float64) @ halves.T).astype(np.uint8)
        assert np.array_equal(resample(gray, Box(0, 0, 500, 300), (300, 500), 64), expected)


def test_every_level_of_limited_range_is_stretched() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    expected = np.clip(np.rint((levels.astype(float) - 16) * (255 / 219)), 0, 255)
    assert np.array_equal(measures.to_full_range(levels), expected)
    assert np.array_equal(measures.to_full_range(levels[:, ::-1].T), expected[:, ::-1].T)
