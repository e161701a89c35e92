"""Frames without black bars: crops of rotated, mirrored and anamorphic videos and of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.geometry import Crop
from schemas.errors import InputError, Reason
from tests.support.golden import check_golden
from tests.support.inputs.media import make_video

SIZE = (160, 128)  # as coded
INNER = (16, 32, 120, 80)  # left, top, width, height of the picture between the bars


def picture() -> NDArray[np.uint8]:
    """Return a picture [80, 120, 3] without symmetry: color gradients and a light corner."""
    y, x = np.mgrid[:80, :120]
    pixels = np.stack([x * 2, y * 3, 255 - x - y], axis=-1).clip(40, 255)
    pixels[5:30, 8:40] = 250
    return pixels.astype(np.uint8)


def with_bars() -> NDArray[np.uint8]:
    left, top, width, height = INNER
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[top : top + height, left : left + width] = picture()
    return pixels


def displayed_crop(mask: NDArray[np.bool_], sar: Fraction, turns: int, flip: bool) -> Crop:
    """Return where a mask of coded pixels is displayed, by transforming the mask as a player does."""
    shown = mask.repeat(sar.numerator, axis=1).repeat(sar.denominator, axis=0)
    shown = np.rot90(shown, turns)
    shown = shown[:, ::-1] if flip else shown  # FFmpeg's display matrix mirrors after the rotation
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    return int(columns[0]), int(rows[0]), len(columns), len(rows)


@pytest.fixture(scope="module")
def decoders() -> Iterator[dict[str, Decoder]]:
    with Decoder(DecodeConfig(size=64)) as pyav, Decoder(DecodeConfig(size=64, backend="decord")) as other:
        yield {"pyav": pyav, "decord": other}


def first_frame(decoder: Decoder, path: Path, crop: Crop | None) -> NDArray[np.int64]:
    return next(iter(decoder.frames(path, crop=crop)))[0][0].astype(np.int64)


UPRIGHT = [
    *((rotation, False, Fraction(1)) for rotation in (0, 90, 180, 270)),
    *((rotation, False, Fraction(2)) for rotation in (0, 90)),
    (0, False, Fraction(1, 2)),
]
MIRRORED = [(rotation, True, Fraction(1)) for rotation in (0, 90)]  # decord rejects such files


@pytest.mark.parametrize(
    ("backend", "rotation", "flip", "sar"),
    [*(("pyav", *case) for case in UPRIGHT + MIRRORED), *(("decord", *case) for case in UPRIGHT)],
)
def test_crop_gives_the_frames_of_the_same_video_without_bars(
    backend: str, rotation: int, flip: bool, sar: Fraction, decoders: dict[str, Decoder], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"frames": 3, "rotation": rotation, "flip": flip, "sar": sar, "options": {"crf": "4"}}
    path_with_bars = make_video(tmp_path / "a.mp4", size=SIZE, picture=lambda i: with_bars(), **options)
    without = make_video(tmp_path / "b.mp4", size=INNER[2:], picture=lambda i: picture(), **options)
    mask = np.zeros((SIZE[1], SIZE[0]), np.bool_)
    mask[INNER[1] : INNER[1] + INNER[3], INNER[0] : INNER[0] + INNER[2]] = True
    crop = displayed_crop(mask, sar, rotation // 90, flip)
    decoder = decoders[backend]
    found, expected = first_frame(decoder, path_with_bars, crop), first_frame(decoder, without, None)
    assert np.abs(found - expected).mean() < 2
    assert np.abs(found - expected).max() < 24
    assert np.abs(first_frame(decoder, path_with_bars, None) - expected).mean() > 20


@pytest.mark.parametrize("tag", [1, 2, 3, 6, 8])
def test_crop_of_a_picture_is_in_displayed_pixels(tag: int, decoders: dict[str, Decoder], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = tag
    Image.fromarray(with_bars()).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(picture()).save(tmp_path / "b.png", exif=exif)
    mask = (with_bars() > 0).any(axis=2)
    turns = {1: 0, 2: 0, 3: 2, 6: 3, 8: 1}[tag]
    crop = displayed_crop(mask, Fraction(1), turns, tag == 2)
    found, expected = (first_frame(decoders["pyav"], tmp_path / f"{n}.png", c) for n, c in (("a", crop), ("b", None)))
    assert np.abs(found - expected).max() <= 1


def test_crop_keeps_the_colors_of_deep_and_interlaced_frames(decoders: dict[str, Decoder], tmp_path: Path) -> None:
    for options in ({"pix_fmt": "yuv420p10le"}, {"interlaced": True}, {"color_range": 2}, {"pix_fmt": "yuv444p"}):
        path = make_video(tmp_path / "a.mkv", frames=3, size=SIZE, picture=lambda i: with_bars(), **options)  # type: ignore[arg-type]
        mean = first_frame(decoders["pyav"], path, INNER).mean(axis=(0, 1))
        assert np.abs(mean - picture()[:, 20:100].mean(axis=(0, 1))).max() < 6, options


@pytest.mark.parametrize("crop", [(0, 0, 161, 10), (-1, 0, 10, 10), (0, 120, 10, 9), (0, 0, 0, 10)])
def test_crop_outside_the_picture_is_an_input_error(crop: Crop, decoders: dict[str, Decoder], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=3, size=SIZE, picture=lambda i: with_bars())
    with pytest.raises(InputError, match="is not inside the picture of 160x128") as error:
        first_frame(decoders["pyav"], path, crop)
    assert error.value.reason is Reason.UNREADABLE


@pytest.mark.slow
def test_frames_change_only_with_the_version(tmp_path: Path) -> None:
    """Lossless files, so that the frames depend on the decoder only, not on an encoder."""
    make_video(tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0", frames=30, size=SIZE, picture=lambda i: with_bars())
    Image.fromarray(picture()).save(tmp_path / "a.png")
    config = DecodeConfig(size=8, fps=4)
    with Decoder(config) as decoder:
        output = {
            name: [
                {"times_s": times_s.tolist(), "frames": frames[:2].tolist()}
                for frames, times_s in decoder.frames(tmp_path / name, crop=crop)
            ]
            for name, crop in (("a.mkv", INNER), ("a.png", None))
        }
    check_golden("decoded_frames", config.fingerprint_fields, output)
