"""The picture between black bars, and dark parts of a picture that are not bars."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.analysis import black_bars
from pipeline.video.analysis.picture_measures import Box

Luma = NDArray[np.uint8]
RNG = np.random.default_rng(0)


def small(frame: Luma) -> Luma:
    """Return a frame scaled to 128 x 128, as the analysis keeps it."""
    return np.asarray(Image.fromarray(frame).resize((128, 128), Image.Resampling.BOX))


def find_picture(brightest: Luma, frames: Iterable[Luma] | None = None) -> Box:
    """Find the picture of a video whose frames are all alike, or are `frames`."""
    shown = [small(frame) for frame in ([brightest] * 4 if frames is None else frames)]
    return black_bars.find_picture(brightest, lambda: shown)


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


def turned(frames: list[Luma], turns: int) -> list[Luma]:
    return [np.ascontiguousarray(np.rot90(frame, turns)) for frame in frames]


def whole(frames: list[Luma]) -> bool:
    """Whether nothing of a video is cropped."""
    height, width = frames[0].shape
    return find_picture(np.maximum.reduce(frames), frames) == Box(0, 0, width, height)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("dark", [70, 160, 240])
@pytest.mark.parametrize("level", [0, 6, 18])
def test_dark_stage_with_its_light_on_one_side_is_not_cropped(turns: int, dark: int, level: int) -> None:
    frames = []
    for _ in range(6):
        frame = np.full((180, 320), level, np.uint8)
        frame[:, dark:] = lit(180, 320 - dark)
        frames.append(frame)
    assert whole(turned(frames, turns))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_narrow_dark_side_at_which_the_light_fades_out_is_not_cropped(turns: int) -> None:
    light = np.clip((np.arange(320) - 50) / 30, 0, 1)
    frames = [(lit(180, 320) * light).astype(np.uint8) for _ in range(6)]
    assert whole(turned(frames, turns))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_dark_side_that_the_light_only_reaches_at_times_is_not_cropped(turns: int) -> None:
    frames = []
    for left in (60, 120, 180, 240, 150, 90):
        frame = np.zeros((180, 320), np.uint8)
        frame[:, left:] = lit(180, 320 - left)
        frames.append(frame)
    assert whole(turned(frames, turns))


def test_dark_scenery_on_both_sides_is_not_cropped() -> None:
    scenery = RNG.integers(0, 20, (12, 20)).repeat(15, 0).repeat(16, 1).astype(np.uint8)
    frame = framed(lit(180, 160), 180, 320, 0, 80)
    frame[:, :80], frame[:, 240:] = scenery[:, :80], scenery[:, 240:]
    assert find_picture(frame) == Box(0, 0, 320, 180)


def test_black_line_of_one_pixel_is_cropped() -> None:
    frame = framed(lit(180, 319), 180, 320, 0, 1)
    assert find_picture(frame) == find_picture(frame, [frame]) == Box(1, 0, 319, 180)


def test_thin_black_line_does_not_make_the_dark_side_opposite_a_bar() -> None:
    frame = framed(lit(180, 196), 180, 320, 0, 4)
    assert find_picture(frame) == Box(4, 0, 316, 180)


@pytest.mark.parametrize(("turns", "box"), [(0, (0, 0, 320, 150)), (1, (0, 0, 150, 320)), (2, (0, 30, 320, 150))])
def test_narrow_bar_on_one_side_that_is_there_all_the_time_is_found(turns: int, box: tuple[int, ...]) -> None:
    frames = turned([framed(lit(150, 320), 180, 320, 0, 0) for _ in range(5)], turns)
    assert find_picture(np.maximum.reduce(frames), frames) == box


def test_still_picture_is_cropped_on_opposite_sides_only() -> None:
    both, one = framed(lit(136, 320), 180, 320, 22, 0), framed(lit(150, 320), 180, 320, 0, 0)
    assert find_picture(both, [both]) == Box(0, 22, 320, 136)
    assert find_picture(one, [one]) == Box(0, 0, 320, 180)


def test_bars_that_leave_for_one_scene_are_picture() -> None:
    frames = [*(framed(lit(136, 320), 180, 320, 22, 0) for _ in range(9)), lit(180, 320)]
    assert whole(frames)
    assert whole(frames[::-1])


def test_bars_of_a_film_that_fades_in_and_is_mostly_dark_are_found() -> None:
    bright = lit(136, 320)
    frames = [framed((bright * share).astype(np.uint8), 180, 320, 22, 0) for share in (0, 0.05, 0.1, 0.1, 0.1, 0.9)]
    assert find_picture(np.maximum.reduce(frames), frames) == Box(0, 22, 320, 136)


def test_bars_with_noise_are_found() -> None:
    noise = np.maximum.reduce([RNG.normal(2, 4, (180, 320)).clip(0, 255) for _ in range(20)]).astype(np.uint8)
    noise[22:158] = lit(136, 320)
    assert find_picture(noise) == Box(0, 22, 320, 136)


def test_bars_of_unequal_width_are_found() -> None:
    assert find_picture(framed(lit(130, 320), 180, 320, 15, 0)) == Box(0, 15, 320, 130)


@pytest.mark.parametrize("level", [40, 255])
def test_white_and_gray_borders_are_picture(level: int) -> None:
    frame = np.full((180, 320), level, np.uint8)
    frame[22:158] = lit(136, 320)
    assert find_picture(frame) == Box(0, 0, 320, 180)
