"""Each measure on a picture that is made to have it, and on one that is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.video.analysis import picture_measures as measures
from pipeline.video.analysis.picture_measures import Box, find_picture, resample

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


def lit(height: int, width: int) -> Luma:
    """Return a typical maximum of each pixel over time."""
    return RNG.integers(60, 256, (height, width)).astype(np.uint8)


@pytest.mark.parametrize(
    "box", [Box(0, 0, 320, 180), Box(0, 22, 320, 136), Box(40, 0, 240, 180), Box(80, 45, 160, 90), Box(0, 0, 320, 150)]
)
def test_bars_on_any_side_are_found_to_the_pixel(box: Box) -> None:
    assert find_picture(framed(lit(box.height, box.width), 180, 320, box.top, box.left)) == box


def test_bar_with_a_soft_edge_is_found() -> None:
    frame = framed(lit(136, 320), 180, 320, 22, 0)
    frame[21], frame[158] = 40, 30
    found = find_picture(frame)
    assert (found.top, found.height) == (21, 138)


def test_bar_with_subtitles_and_a_logo_is_found() -> None:
    frame = framed(lit(136, 320), 180, 320, 22, 0)
    frame[165:175, 40:280] = 255
    frame[4:14, 300:316] = 255
    assert find_picture(frame) == Box(0, 22, 320, 136)


def test_bar_next_to_a_partly_dark_picture_is_found() -> None:
    picture = lit(270, 480)
    y, x = np.mgrid[:270, :480]
    picture[(np.abs(x - 240) < (y - 180) * 1.7)] = 5  # shoulders, most of the last row
    assert find_picture(framed(picture, 360, 480, 45, 0)) == Box(0, 45, 480, 270)
    assert find_picture(framed(picture.T, 480, 360, 0, 45)) == Box(45, 0, 270, 480)
    assert find_picture(framed(picture[::-1], 360, 480, 45, 0)) == Box(0, 45, 480, 270)


@pytest.mark.parametrize("radius", [20, 40, 80, 130])
def test_globe_on_black_is_not_cropped(radius: int) -> None:
    y, x = np.mgrid[:270, :480]
    globe = np.where((x - 240) ** 2 + (y - 135) ** 2 < radius**2, 200, 0).astype(np.uint8)
    assert find_picture(globe) == Box(0, 0, 480, 270)


def test_dark_parts_of_a_picture_are_not_bars() -> None:
    night = framed(lit(100, 320), 180, 320, 80, 0)
    for column in range(320):  # a skyline
        night[80 - column % 60 : 80, column] = 120
    fading = lit(180, 320)
    fading[:60] = (fading[:60] * np.linspace(0, 1, 60)[:, None]).astype(np.uint8)
    black = RNG.integers(0, 6, (180, 320)).astype(np.uint8)
    for frame in (night, fading, black):
        assert find_picture(frame) == Box(0, 0, 320, 180)


def test_spot_of_light_on_black_is_not_cropped() -> None:
    y, x = np.mgrid[:180, :320]
    spot = (255 * np.exp(-((x - 160) ** 2 + (y - 90) ** 2) / 1500)).astype(np.uint8)
    assert find_picture(spot) == Box(0, 0, 320, 180)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 90), st.integers(1, 160), st.integers(0, 89), st.integers(0, 159))
def test_every_frame_has_a_picture_inside_it(height: int, width: int, top: int, left: int) -> None:
    frame = framed(lit(height, width), 90, 160, min(top, 90 - height), min(left, 160 - width))
    box = find_picture(frame)
    assert box.left >= 0
    assert box.top >= 0
    assert 0 < box.width <= 160 - box.left
    assert 0 < box.height <= 90 - box.top


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
