"""Pictures of every sample format become the right RGB picture, not a black one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.video.backends.picture_pixels import bit_depth, rgb_pixels, stretch
from tests.support.inputs.media import quadrants
from tests.support.inputs.tiffs import packed_12_bits, ramp, write_tiff
from tests.support.inputs.transparent import COLOR, SPOT, half_transparent, palette_picture

RAMP = np.rint(ramp() * 255)


def gray_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        pixels = rgb_pixels(image)
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    return pixels[..., 0]


def scaled(dtype: str, low: float, high: float) -> bytes:
    return (low + ramp() * (high - low)).astype(dtype).tobytes()


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (packed_12_bits(ramp()), {"bits": 12}),
        (scaled("<u2", 0, 65535), {"bits": 16}),
        (scaled("<u2", 65535, 0), {"bits": 16, "photometric": 0}),
        (scaled("<i2", -32768, 32767), {"bits": 16, "sample_format": 2}),
        (scaled("<i1", -128, 127), {"bits": 8, "sample_format": 2}),
        (scaled("<u1", 255, 0), {"bits": 8, "photometric": 0}),
        (scaled("<u4", 0, 4294967295), {"bits": 32}),
        (scaled("<u4", 0, 65535), {"bits": 32}),
        (scaled("<i4", -(10**6), 10**6), {"bits": 32, "sample_format": 2}),
        (scaled("<f4", 0, 1), {"bits": 32, "sample_format": 3}),
        (scaled("<f4", 1, 0), {"bits": 32, "sample_format": 3, "photometric": 0}),
        (np.rint(ramp() * 700).astype("<f4").tobytes(), {"bits": 32, "sample_format": 3}),
        (scaled("<f4", 0, 0.02), {"bits": 32, "sample_format": 3}),
        (scaled("<u4", 0, 4095), {"bits": 32}),
        (scaled("<f4", -3.5, 1200.25), {"bits": 32, "sample_format": 3}),
        (np.rint(ramp() * 255).astype("<f4").tobytes(), {"bits": 32, "sample_format": 3}),
    ],
)
def test_gray_ramp_of_every_tiff_sample_format(tmp_path: Path, data: bytes, form: dict[str, Any]) -> None:
    gray = gray_of(write_tiff(tmp_path / "a.tif", data, **form))
    assert np.abs(gray.astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_gray_of_every_format(tmp_path: Path, name: str) -> None:
    Image.fromarray((ramp() * 65535).astype(np.uint16)).save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert bit_depth(image) == 16
    assert np.abs(gray_of(tmp_path / name).astype(int) - RAMP).max() <= 1


def test_nan_and_infinities_do_not_hide_the_picture() -> None:
    samples = ramp()
    samples[0, :3] = np.nan, np.inf, -np.inf
    gray = stretch(samples)
    assert gray[0, :3].tolist() == [0, 255, 0]
    assert np.abs(gray.ravel()[3:] - RAMP.ravel()[3:]).max() <= 1
    assert stretch(np.full((2, 2), np.nan)).tolist() == [[0, 0], [0, 0]]
    assert stretch(np.full((2, 2), 7.5)).tolist() == [[0, 0], [0, 0]]


@given(arrays.arrays(np.float64, (4, 5), elements=st.floats(width=32)))
def test_any_samples_become_gray_levels_in_their_order(samples: NDArray[np.float64]) -> None:
    gray, order = stretch(samples).ravel(), np.argsort(samples, axis=None)
    known = order[~np.isnan(samples.ravel()[order])]
    assert (np.diff(gray[known].astype(int)) >= 0).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "P", "RGBX"])
def test_color_modes_give_the_colors(mode: str) -> None:
    plain = Image.fromarray(quadrants((60, 40)))
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(plain, srgb, lab, outputMode="LAB")
    else:
        image = plain.quantize(4) if mode == "P" else plain.convert(mode)
    assert image is not None
    assert np.abs(rgb_pixels(image).astype(int) - quadrants((60, 40))).max() <= 10


@pytest.mark.parametrize(
    ("name", "options", "mode"),
    [
        ("a.tif", {"compression": "jpeg"}, "CMYK"),
        ("a.tif", {}, "CMYK"),
        ("a.jpg", {}, "CMYK"),
        ("a.tif", {"compression": "jpeg"}, "YCbCr"),
        ("a.tif", {"compression": "group4"}, "1"),
        ("a.png", {}, "1"),
    ],
)
def test_color_modes_are_read_from_files(tmp_path: Path, name: str, options: dict[str, str], mode: str) -> None:
    Image.fromarray(quadrants((64, 48))).convert(mode).save(tmp_path / name, **options)
    with Image.open(tmp_path / name) as image:
        found = rgb_pixels(image)
    assert found[36, 48].min() > 200  # the white quadrant
    assert mode == "1" or found[12, 16].tolist() == pytest.approx([220, 30, 30], abs=16)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA", "P", "I;16", "16-bit"])
def test_transparent_pixels_are_white_in_every_mode(tmp_path: Path, mode: str) -> None:
    rgba = Image.fromarray(half_transparent())
    if mode == "P":
        image = palette_picture()
    elif mode == "I;16":
        deep = np.full((64, 96), 20000, np.uint16)
        deep[:, 48:] = 30000
        Image.fromarray(deep).save(tmp_path / "a.png", transparency=30000)
        image = Image.open(tmp_path / "a.png")
    elif mode == "PA":
        image = rgba.convert("RGB").convert("P").convert("PA")
        image.putalpha(rgba.getchannel("A"))
    elif mode == "16-bit":
        image = deep_alpha(tmp_path / "a.png")
    else:
        image = rgba.convert("LA").convert("La") if mode == "La" else rgba.convert(mode)
    found = rgb_pixels(image)
    assert found[60, 80].tolist() == [255, 255, 255]
    assert found[60, 10].max() < 205
    if mode in ("RGBA", "RGBa", "P"):
        assert found[60, 10].tolist() == list(COLOR)
        assert found[32, 66].tolist() == pytest.approx([127 + c // 2 for c in SPOT], abs=2)


def deep_alpha(path: Path) -> Image.Image:
    """Return a PNG of 16 bits per channel, with alpha."""
    with av.open(str(path), "w", format="image2") as out:
        stream = out.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgba64be"
        frame = av.VideoFrame.from_ndarray(half_transparent(), format="rgba").reformat(format="rgba64be")
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return Image.open(path)
