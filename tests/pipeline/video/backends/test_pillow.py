"""Pictures as videos of one frame, and animations as videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.decoder import AnalysisConfig, DecodeConfig, Decoder
from schemas.errors import InputError, Reason
from tests.support.inputs.media import numbered, quadrant_names, quadrants, read_number


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=5)) as decoder:
        yield decoder


def only(decoder: Decoder, path: Path) -> NDArray[np.uint8]:
    batches = list(decoder.frames(path))
    assert [times.tolist() for _, times in batches] == [[0.0]]
    assert decoder.report is not None
    assert (decoder.report.frames, decoder.report.frames_promised, decoder.report.shortfall) == (1, 1, 0)
    frame: NDArray[np.uint8] = batches[0][0][0]
    return frame


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.avif"])
def test_picture_is_a_video_of_one_frame(decoder: Decoder, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(numbered(1234, (120, 80))).save(path, quality=95)
    assert read_number(only(decoder, path)) == 1234
    info = decoder.probe(path)
    assert (info.width, info.height, info.is_picture, info.duration_s, info.start_s) == (120, 80, True, 0.0, 0.0)
    assert decoder.subtitles(path) == []


@pytest.mark.slow
def test_picture_is_one_frame_at_any_rate_and_with_any_suffix(tmp_path: Path) -> None:
    path = tmp_path / "picture.mp4"
    Image.fromarray(numbered(7, (64, 64))).save(path, format="PNG")
    with Decoder(DecodeConfig(size=32, fps=60)) as decoder:
        assert read_number(only(decoder, path)) == 7


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
@pytest.mark.parametrize(
    ("tag", "expected"), [(1, "RGBW"), (2, "GRWB"), (3, "WBGR"), (5, "RBGW"), (6, "BRWG"), (7, "WGBR"), (8, "GWRB")]
)
def test_orientation_is_applied_once(decoder: Decoder, tmp_path: Path, name: str, tag: int, expected: str) -> None:
    image = Image.fromarray(quadrants((96, 64)))
    exif = image.getexif()
    exif[274] = tag
    image.save(tmp_path / name, exif=exif, quality=95)
    assert quadrant_names(only(decoder, tmp_path / name)) == expected
    stats = decoder.analyze(tmp_path / name, AnalysisConfig(frames=True))
    assert (stats.info.width, stats.info.height) == ((64, 96) if tag in (5, 6, 7, 8) else (96, 64))
    assert stats.crop == (0, 0, stats.info.width, stats.info.height)
    assert quadrant_names(np.asarray(Image.fromarray(stats.frames[0]).resize((64, 64)))) == expected


@pytest.mark.parametrize(("name", "mode"), [("a.tif", "F"), ("a.tif", "CMYK"), ("a.tif", "I;16"), ("a.ico", "RGBA")])
def test_pictures_of_unusual_modes_are_shown(decoder: Decoder, tmp_path: Path, name: str, mode: str) -> None:
    image = Image.fromarray(numbered(77, (64, 64)))
    gray = np.asarray(image.convert("L"))
    if mode == "F":
        image = Image.fromarray(gray.astype(np.float32) / 255)
    elif mode == "I;16":
        image = Image.fromarray(gray.astype(np.uint16) << 8)
    else:
        image = image.convert(mode)
    image.save(tmp_path / name)
    assert read_number(only(decoder, tmp_path / name)) == 77


@pytest.mark.parametrize(("name", "format"), [("a.tif", "TIFF"), ("a.jpg", "MPO")])
def test_first_of_several_pictures_is_used_and_the_others_are_noted(
    decoder: Decoder, tmp_path: Path, name: str, format: str
) -> None:
    pages = [Image.fromarray(numbered(n, (64, 64))) for n in (5, 6, 7)]
    pages[0].save(tmp_path / name, format, save_all=True, append_images=pages[1:])
    assert read_number(only(decoder, tmp_path / name)) == 5
    assert decoder.report is not None
    assert decoder.report.detail == "the first of 3 pictures in the file"


def test_transparent_pixels_become_white(decoder: Decoder, tmp_path: Path) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:, 32:] = (200, 0, 0, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    palette = Image.fromarray(rgba[..., :3]).quantize(4)
    palette.save(tmp_path / "b.png", transparency=palette.getpixel((0, 0)))
    for name in ("a.png", "b.png"):
        frame = only(decoder, tmp_path / name)
        assert frame[32, 10].tolist() == [255, 255, 255]
        assert frame[32, 50].tolist() == [200, 0, 0]


def test_sixteen_bit_gray_is_scaled_not_clipped(decoder: Decoder, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 120 << 8, np.uint16)).save(tmp_path / "a.png")
    assert only(decoder, tmp_path / "a.png").mean() == pytest.approx(120, abs=0.5)
    assert decoder.probe(tmp_path / "a.png").bit_depth == 16


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_animation_is_a_video(decoder: Decoder, tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(numbered(n, (64, 64))) for n in (1, 2, 4)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=[400, 200, 600], lossless=True)
    batches = list(decoder.frames(tmp_path / name))
    assert [read_number(f) for frames, _ in batches for f in frames] == [1, 1, 2, 4, 4, 4]
    info = decoder.probe(tmp_path / name)
    assert (info.is_picture, info.duration_s) == (False, pytest.approx(1.2))


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_transparent_pixels_of_every_frame_of_an_animation_become_white(
    decoder: Decoder, tmp_path: Path, name: str
) -> None:
    frames = []
    for left in (0, 16, 32):
        picture = np.zeros((64, 64, 4), np.uint8)
        picture[:, left : left + 16] = (200, 0, 0, 255)
        frames.append(Image.fromarray(picture))
    frames[0].save(
        tmp_path / name,
        save_all=True,
        append_images=frames[1:],
        duration=200,
        lossless=True,
        disposal=2,
        optimize=False,
    )
    shown = [frame[32, 8::16].tolist() for batch, _ in decoder.frames(tmp_path / name) for frame in batch]
    red, white = [200, 0, 0], [255, 255, 255]
    assert shown == [[red, white, white, white], [white, red, white, white], [white, white, red, white]]


def test_default_image_of_an_animated_png_is_not_shown(decoder: Decoder, tmp_path: Path) -> None:
    frames = [Image.fromarray(numbered(n, (64, 64))) for n in (1, 2, 4)]
    path = tmp_path / "a.png"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[400, 200], default_image=True)
    assert [read_number(f) for frames, _ in decoder.frames(path) for f in frames] == [2, 2, 4]
    frames[0].save(path, save_all=True, append_images=frames[2:], duration=400, default_image=True)
    assert read_number(only(decoder, path)) == 4


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_animation_of_one_frame_is_a_picture(decoder: Decoder, tmp_path: Path, name: str) -> None:
    Image.fromarray(numbered(3, (64, 64))).save(tmp_path / name, save_all=True, duration=400)
    assert decoder.probe(tmp_path / name).is_picture
    assert read_number(only(decoder, tmp_path / name)) == 3


def test_very_short_frames_of_an_animation_last_100_ms_as_in_browsers(decoder: Decoder, tmp_path: Path) -> None:
    frames = [Image.fromarray(numbered(n, (64, 64))) for n in range(1, 11)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=10)
    assert decoder.probe(tmp_path / "a.gif").duration_s == pytest.approx(1.0)


def test_picture_with_too_many_pixels_is_rejected_before_unpacking(tmp_path: Path) -> None:
    Image.new("L", (3000, 2000)).save(tmp_path / "bomb.png")
    with Decoder(DecodeConfig(max_pixels=5_000_000)) as decoder:
        for request in (decoder.probe, lambda path: list(decoder.frames(path))):
            with pytest.raises(InputError, match="max_pixels") as e:
                request(tmp_path / "bomb.png")
            assert e.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("keep", [20, 300])
def test_truncated_picture_is_unreadable(decoder: Decoder, tmp_path: Path, keep: int) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:keep])
    with pytest.raises(InputError) as e:
        list(decoder.frames(tmp_path / "cut.png"))
    assert e.value.reason is Reason.UNREADABLE


@pytest.mark.slow
def test_heic_is_rejected(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    with pytest.raises(InputError, match="HEIC") as e:
        decoder.probe(tmp_path / "a.heic")
    assert e.value.reason is Reason.UNREADABLE
