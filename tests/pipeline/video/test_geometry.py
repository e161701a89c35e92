"""Orientation, pixel aspect ratio and crops against slow, obvious versions of themselves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.video.geometry import (
    EXIF_ORIENTATIONS,
    Orientation,
    center_crop,
    coded_crop,
    display_size,
    orientation_from_matrix,
    pixel_aspect_ratio,
)

few = settings(max_examples=60, deadline=None)


@few
@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    sar=st.fractions(Fraction(1, 4), Fraction(4)),
    size=st.integers(8, 512),
)
def test_center_crop_is_centered_in_the_scaled_picture(width: int, height: int, sar: Fraction, size: int) -> None:
    placed = center_crop(width, height, sar, size)
    assert min(placed.width, placed.height) == size
    assert 0 <= placed.width - size - 2 * placed.left <= 1
    assert 0 <= placed.height - size - 2 * placed.top <= 1
    assert placed.width / placed.height == pytest.approx(float(width * sar / height), rel=0.51 / size + 1e-9)


def test_display_size_stretches_one_side_and_swaps_sides_for_quarter_turns() -> None:
    assert display_size(176, 144, Fraction(128, 117), Orientation()) == (193, 144)
    assert display_size(1440, 1080, Fraction(4, 3), Orientation(1)) == (1080, 1920)
    assert display_size(720, 576, Fraction(1, 2), Orientation()) == (720, 1152)


@pytest.mark.parametrize("sar", [None, Fraction(0), Fraction(1, 1000), Fraction(1000)])
def test_unknown_and_extreme_pixel_aspect_ratios_become_one(sar: Fraction | None) -> None:
    assert pixel_aspect_ratio(sar) == 1


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_display_matrix_maps_every_pixel_to_its_place(clockwise: int, flip: bool) -> None:
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    mirror = -1 if flip else 1  # x is mirrored before the turn
    x_to, y_to = (cos * mirror, sin * mirror), (-sin, cos)
    one = 1 << 16
    oriented = orientation_from_matrix(
        [x_to[0] * one, x_to[1] * one, 0, y_to[0] * one, y_to[1] * one, 0, 0, 0, 1 << 30]
    )

    coded = np.arange(6).reshape(2, 3)
    shown = np.rot90(coded[:, ::-1] if oriented.flip else coded, oriented.turns)
    moved = {}
    for (y, x), value in np.ndenumerate(coded):
        moved[x * x_to[0] + y * y_to[0], x * x_to[1] + y * y_to[1]] = value
    left, top = min(x for x, _ in moved), min(y for _, y in moved)
    slow = np.zeros_like(shown)
    for (x, y), value in moved.items():
        slow[y - top, x - left] = value
    assert shown.tolist() == slow.tolist()


@pytest.mark.parametrize("tag", range(1, 9))
def test_exif_orientations_match_pillow(tag: int) -> None:
    coded = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(coded)
    image.getexif()[274] = tag
    oriented = EXIF_ORIENTATIONS.get(tag, Orientation())
    ours = np.rot90(coded[:, ::-1] if oriented.flip else coded, oriented.turns)
    assert ours.tolist() == np.asarray(ImageOps.exif_transpose(image)).tolist()


@given(data=st.data())
def test_coded_crop_stays_inside_the_displayed_crop(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(16, 90)), data.draw(st.integers(16, 90))
    sar = data.draw(st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 3), Fraction(4, 3)]))
    oriented = Orientation(data.draw(st.integers(0, 3)), data.draw(st.booleans()))
    displayed = display_size(width, height, sar, oriented)
    left, top = data.draw(st.integers(0, displayed[0] - 1)), data.draw(st.integers(0, displayed[1] - 1))
    crop = left, top, data.draw(st.integers(1, displayed[0] - left)), data.draw(st.integers(1, displayed[1] - top))
    x, y, w, h = coded_crop(crop, displayed, (width, height), oriented)
    assert x >= 0 <= y
    assert x % 2 == y % 2 == 0
    assert 0 < w <= width - x
    assert 0 < h <= height - y
    # The centers of its border pixels, mapped to displayed pixels, lie inside the crop.
    at_x, at_y = (x + np.array([0.5, w - 0.5])) / width, (y + np.array([0.5, h - 0.5])) / height
    at_x = 1 - at_x if oriented.flip else at_x
    for _ in range(oriented.turns):
        at_x, at_y = at_y, 1 - at_x
    for at, side, start, size, pixels in (
        (at_x, displayed[0], left, crop[2], w),
        (at_y, displayed[1], top, crop[3], h),
    ):
        if min(w, h) > 2 and pixels:
            assert start - 1e-6 <= min(at) * side
            assert max(at) * side <= start + size + 1e-6
