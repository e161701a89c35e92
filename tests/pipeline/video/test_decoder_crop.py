"""Pictures without their bars: what is cut off where a file turns, mirrors or stretches its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.time_grid import Crop, Orientation, coded_crop, shown_size
from schemas.errors import InputError, Reason
from tests.support.media import make_video

SIZE = (160, 128)  # as coded
INNER = (16, 32, 120, 80)  # left, top, width, height of what is no bar


def inside() -> NDArray[np.uint8]:
    """A picture [80, 120, 3] without symmetry: slopes of color and a light corner."""
    y, x = np.mgrid[:80, :120]
    picture = np.stack([x * 2, y * 3, 255 - x - y], axis=-1).clip(40, 255)
    picture[5:30, 8:40] = 250
    return picture.astype(np.uint8)


def barred() -> NDArray[np.uint8]:
    left, top, width, height = INNER
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    picture[top : top + height, left : left + width] = inside()
    return picture


def as_shown(mask: NDArray[np.bool_], sar: Fraction, turns: int, flip: bool) -> Crop:
    """Where a part of the coded picture, given as a mask, is seen: by doing to the mask what a player does."""
    shown = mask.repeat(sar.numerator, axis=1).repeat(sar.denominator, axis=0)
    shown = np.rot90(shown, turns)
    shown = shown[:, ::-1] if flip else shown  # a display matrix of FFmpeg's making mirrors after it has turned
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    return int(columns[0]), int(rows[0]), len(columns), len(rows)


@pytest.fixture(scope="module")
def decoders() -> Iterator[dict[str, Decoder]]:
    with Decoder(DecodeConfig(size=64)) as pyav, Decoder(DecodeConfig(size=64, backend="decord")) as other:
        yield {"pyav": pyav, "decord": other}


def first_frame(decoder: Decoder, path: Path, crop: Crop | None) -> NDArray[np.int64]:
    return next(iter(decoder.frames(path, crop=crop)))[0][0].astype(np.int64)


CASES = [
    *((rotation, False, Fraction(1)) for rotation in (0, 90, 180, 270)),
    *((rotation, True, Fraction(1)) for rotation in (0, 90)),
    *((rotation, False, Fraction(2)) for rotation in (0, 90)),
    (0, False, Fraction(1, 2)),
]


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize(("rotation", "flip", "sar"), CASES)
def test_a_cropped_picture_is_that_of_a_file_that_never_had_bars(
    rotation: int, flip: bool, sar: Fraction, backend: str, decoders: dict[str, Decoder], tmp_path: Path
) -> None:
    if backend == "decord" and flip:
        pytest.skip("decord does not mirror, and such files are refused")
    options: dict[str, Any] = {"frames": 3, "rotation": rotation, "flip": flip, "sar": sar, "options": {"crf": "4"}}
    with_bars = make_video(tmp_path / "a.mp4", size=SIZE, picture=lambda i: barred(), **options)
    without = make_video(tmp_path / "b.mp4", size=INNER[2:], picture=lambda i: inside(), **options)
    mask = np.zeros((SIZE[1], SIZE[0]), np.bool_)
    mask[INNER[1] : INNER[1] + INNER[3], INNER[0] : INNER[0] + INNER[2]] = True
    crop = as_shown(mask, sar, rotation // 90, flip)
    decoder = decoders[backend]
    found, expected = first_frame(decoder, with_bars, crop), first_frame(decoder, without, None)
    assert np.abs(found - expected).mean() < 2
    assert np.abs(found - expected).max() < 24
    assert np.abs(first_frame(decoder, with_bars, None) - expected).mean() > 20


@pytest.mark.parametrize("tag", [1, 2, 3, 6, 8])
def test_still_pictures_are_cropped_as_they_are_shown(tag: int, decoders: dict[str, Decoder], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = tag
    Image.fromarray(barred()).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(inside()).save(tmp_path / "b.png", exif=exif)
    mask = (barred() > 0).any(axis=2)
    turns = {1: 0, 2: 0, 3: 2, 6: 3, 8: 1}[tag]
    crop = as_shown(mask, Fraction(1), turns, tag == 2)
    found, expected = (first_frame(decoders["pyav"], tmp_path / f"{n}.png", c) for n, c in (("a", crop), ("b", None)))
    assert np.abs(found - expected).max() <= 1


def test_deep_and_interlaced_frames_keep_their_colors(decoders: dict[str, Decoder], tmp_path: Path) -> None:
    for options in ({"pix_fmt": "yuv420p10le"}, {"interlaced": True}, {"color_range": 2}, {"pix_fmt": "yuv444p"}):
        path = make_video(tmp_path / "a.mkv", frames=3, size=SIZE, picture=lambda i: barred(), **options)  # type: ignore[arg-type]
        mean = first_frame(decoders["pyav"], path, INNER).mean(axis=(0, 1))
        assert np.abs(mean - inside()[:, 20:100].mean(axis=(0, 1))).max() < 6, options


@pytest.mark.parametrize("crop", [(0, 0, 161, 10), (-1, 0, 10, 10), (0, 120, 10, 9), (0, 0, 0, 10)])
def test_a_part_that_is_not_in_the_picture_is_an_error_of_the_item(
    crop: Crop, decoders: dict[str, Decoder], tmp_path: Path
) -> None:
    path = make_video(tmp_path / "a.mp4", frames=3, size=SIZE, picture=lambda i: barred())
    with pytest.raises(InputError, match="does not lie in a picture of 160x128") as error:
        first_frame(decoders["pyav"], path, crop)
    assert error.value.reason is Reason.UNREADABLE


@given(data=st.data())
def test_a_coded_part_holds_no_bar_and_misses_little(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(16, 90)), data.draw(st.integers(16, 90))
    sar = data.draw(st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 3), Fraction(4, 3)]))
    turned = Orientation(data.draw(st.integers(0, 3)), data.draw(st.booleans()))
    shown = shown_size(width, height, sar, turned)
    left, top = data.draw(st.integers(0, shown[0] - 1)), data.draw(st.integers(0, shown[1] - 1))
    crop = left, top, data.draw(st.integers(1, shown[0] - left)), data.draw(st.integers(1, shown[1] - top))
    x, y, w, h = coded_crop(crop, shown, (width, height), turned)
    assert x >= 0 <= y
    assert x % 2 == y % 2 == 0
    assert 0 < w <= width - x
    assert 0 < h <= height - y
    # The centers of its pixels, brought to where they are shown, lie in the part; the part is at most 2 pixels larger.
    at_x, at_y = (x + np.array([0.5, w - 0.5])) / width, (y + np.array([0.5, h - 0.5])) / height
    at_x = 1 - at_x if turned.flip else at_x
    for _ in range(turned.turns):
        at_x, at_y = at_y, 1 - at_x
    for at, side, start, size, pixels in ((at_x, shown[0], left, crop[2], w), (at_y, shown[1], top, crop[3], h)):
        if min(w, h) > 2 and pixels:
            assert start - 1e-6 <= min(at) * side
            assert max(at) * side <= start + size + 1e-6
