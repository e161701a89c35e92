"""Colors, scaling and rotation, with real encoders and the whole decoder."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.scale import bt601_to_bt709, has_alpha, opaque, over_white
from schemas.errors import InputError, Reason
from tests.support.inputs.media import flat_yuv, make_video, numbered, quadrant_names, quadrants, read_number

SIZE = 64
LIMITED, FULL = 1, 2
BT709, UNTAGGED, BT601, BT2020 = 1, 2, 6, 9
RED_AND_BLUE = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114), BT2020: (0.2627, 0.0593)}


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=SIZE, fps=5)) as decoder:
        yield decoder


def first(decoder: Decoder, path: Path) -> NDArray[np.uint8]:
    frames: NDArray[np.uint8] = next(iter(decoder.frames(path)))[0][0]
    return frames


def expected_rgb(yuv: tuple[int, int, int], matrix: int, color_range: int) -> list[float]:
    """Convert one 8-bit Y'CbCr sample by the formulas of ITU-R BT.709, 3.2 to 3.4."""
    red, blue = RED_AND_BLUE[matrix]
    if color_range == FULL:
        y, u, v = yuv[0] / 255, (yuv[1] - 128) / 255, (yuv[2] - 128) / 255
    else:
        y, u, v = (yuv[0] - 16) / 219, (yuv[1] - 128) / 224, (yuv[2] - 128) / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return [255 * min(max(c, 0.0), 1.0) for c in (r, g, b)]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p"])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT709, BT601, BT2020])
def test_colors_match_the_standard(
    decoder: Decoder, tmp_path: Path, pix_fmt: str, color_range: int, matrix: int
) -> None:
    for yuv in ((110, 100, 170), (60, 150, 110), (200, 120, 120)):
        path = make_video(
            tmp_path / "a.mp4",
            frames=1,
            size=(96, 64),
            pix_fmt=pix_fmt,
            color_range=color_range,
            colorspace=matrix,
            picture=lambda i, yuv=yuv: flat_yuv(yuv, (96, 64), pix_fmt),
        )
        frame = first(decoder, path)
        assert frame.reshape(-1, 3).mean(axis=0) == pytest.approx(expected_rgb(yuv, matrix, color_range), abs=1.1)
        assert decoder.probe(path).full_range is (color_range == FULL)


@pytest.mark.parametrize(("size", "matrix"), [((720, 576), BT601), ((1280, 720), BT709), ((608, 1080), BT709)])
def test_untagged_video_uses_the_matrix_for_its_size(
    decoder: Decoder, tmp_path: Path, size: tuple[int, int], matrix: int
) -> None:
    yuv = (110, 100, 170)
    path = make_video(tmp_path / "a.mp4", frames=1, size=size, picture=lambda i: flat_yuv(yuv, size, "yuv420p"))
    mean = first(decoder, path).reshape(-1, 3).mean(axis=0)
    assert mean == pytest.approx(expected_rgb(yuv, matrix, LIMITED), abs=1.1)


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
@pytest.mark.parametrize(("color_range", "expected"), [(LIMITED, 109.5), (FULL, 110.0), (0, 110.0)])
def test_gray_video_keeps_its_range(
    decoder: Decoder, tmp_path: Path, pix_fmt: str, color_range: int, expected: float
) -> None:
    path = make_video(
        tmp_path / "a.mkv",
        codec="ffv1",
        frames=1,
        pix_fmt=pix_fmt,
        color_range=color_range,
        picture=lambda i: flat_yuv((110,), (96, 64), pix_fmt),
    )
    assert first(decoder, path).mean() == pytest.approx(expected, abs=0.6)


def test_transparent_pixels_become_white(decoder: Decoder, tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[:, :, 0] = 200
    picture[:, 32:, 3] = 255  # the left half is transparent
    path = make_video(
        tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgra", size=(64, 64), frames=1, picture=lambda i: picture
    )
    frame = first(decoder, path)
    assert frame[32, 10].tolist() == [255, 255, 255]
    assert frame[32, 50].tolist() == [200, 0, 0]


def test_only_frames_with_alpha_or_a_palette_are_composited() -> None:
    plain = av.VideoFrame.from_ndarray(np.full((8, 8, 3), 9, np.uint8), format="rgb24")
    assert opaque(plain) is plain
    for pix_fmt in ("rgba", "yuva420p", "ya8", "gbrap"):
        frame = av.VideoFrame.from_ndarray(np.zeros((8, 8, 4), np.uint8), format="rgba").reformat(format=pix_fmt)
        assert has_alpha(frame)
        assert (opaque(frame).format.name, opaque(frame).to_ndarray().min()) == ("rgb24", 255)


def test_half_transparent_pixels_are_blended_with_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    assert over_white(rgba).tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 127]]]


@pytest.mark.parametrize("yuv", [(110, 100, 170), (80, 140, 120), (180, 128, 128)])
def test_wrong_matrix_is_corrected(yuv: tuple[int, int, int]) -> None:
    wrong = np.array(expected_rgb(yuv, BT601, LIMITED)).round().astype(np.uint8)
    assert bt601_to_bt709(wrong).tolist() == pytest.approx(expected_rgb(yuv, BT709, LIMITED), abs=1.1)


@pytest.mark.parametrize("size", [(97, 63), (33, 65), (101, 101), (21, 300)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_odd_sizes_are_decoded(decoder: Decoder, tmp_path: Path, size: tuple[int, int], pix_fmt: str) -> None:
    path = make_video(
        tmp_path / "a.mkv",
        codec="ffv1",
        pix_fmt=pix_fmt,
        size=size,
        frames=10,
        picture=lambda i: numbered(i * 37, size),
    )
    batches = list(decoder.frames(path))
    assert [read_number(f) for frames, _ in batches for f in frames] == [0, 185]
    info = decoder.probe(path)
    assert (info.width, info.height) == size


@pytest.mark.parametrize(
    ("name", "rotation", "flip", "expected"),
    [
        ("a.mp4", 0, False, "RGBW"),
        ("a.mp4", 90, False, "GWRB"),
        ("a.mp4", 180, False, "WBGR"),
        ("a.mp4", 270, False, "BRWG"),
        ("a.mp4", 0, True, "GRWB"),
        ("a.mp4", 180, True, "BWRG"),
        ("a.mkv", 90, False, "GWRB"),
        ("a.mkv", 180, False, "WBGR"),
        ("a.mkv", 270, False, "BRWG"),
    ],
)
def test_frames_are_rotated_and_mirrored_by_the_display_matrix(
    decoder: Decoder, tmp_path: Path, name: str, rotation: int, flip: bool, expected: str
) -> None:
    size = (96, 64)
    path = make_video(
        tmp_path / name, size=size, frames=2, rotation=rotation, flip=flip, picture=lambda i: quadrants(size)
    )
    assert quadrant_names(first(decoder, path)) == expected
    info = decoder.probe(path)
    assert (info.width, info.height) == ((64, 96) if rotation in (90, 270) else (96, 64))
    assert (info.rotation, info.flipped) == (-rotation % 360, flip)


def test_mirrored_and_rotated_video_follows_its_display_matrix(decoder: Decoder, tmp_path: Path) -> None:
    size = (96, 64)
    path = make_video(
        tmp_path / "a.mp4", size=size, frames=2, rotation=90, flip=True, picture=lambda i: quadrants(size)
    )
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        matrix = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), np.int32).reshape(3, 3)[:2, :2] / 65536
    # Map the corners with the matrix alone: (x, y) -> (x, y) @ matrix, about the picture's center.
    corners = {(-1, -1): "R", (1, -1): "G", (-1, 1): "B", (1, 1): "W"}
    moved = {tuple((np.array(at) @ matrix).round().astype(int)): name for at, name in corners.items()}
    expected = "".join(moved[at] for at in corners)
    assert quadrant_names(first(decoder, path)) == expected


def test_wide_pixels_are_displayed_wide(decoder: Decoder, tmp_path: Path) -> None:
    # Coded 64 x 64 with pixels twice as wide as high: the center crop is the middle half of the columns.
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 16:48] = 255
    for sar, white in ((Fraction(2), 255), (Fraction(1, 2), None)):
        path = make_video(tmp_path / "a.mp4", size=(64, 64), frames=1, sar=sar, picture=lambda i: picture)
        frame = first(decoder, path)[8:-8].astype(int)
        if white:
            assert frame[:, 4:-4].min() > 240
        else:  # tall pixels: the whole width is visible
            assert frame[:, :12].max() < 20
            assert frame[:, 22:42].min() > 240


def test_pixel_aspect_ratio_rotates_with_the_picture(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", size=(64, 64), frames=1, sar=Fraction(2), rotation=90)
    info = decoder.probe(path)
    assert (info.width, info.height) == (64, 128)


def test_downscaling_does_not_alias(decoder: Decoder, tmp_path: Path) -> None:
    checks = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    path = make_video(
        tmp_path / "a.mkv",
        codec="ffv1",
        pix_fmt="bgr0",
        size=(512, 512),
        frames=1,
        picture=lambda i: np.repeat(checks[..., None], 3, axis=2),
    )
    inner = first(decoder, path)[4:-4, 4:-4].astype(int)
    assert abs(inner - 127.5).max() < 3


def test_interlaced_video_is_flagged_and_its_fields_are_blended(decoder: Decoder, tmp_path: Path) -> None:
    comb = np.zeros((256, 256, 3), np.uint8)
    comb[::2] = 255
    path = make_video(
        tmp_path / "a.mkv",
        size=(256, 256),
        frames=5,
        interlaced=True,
        picture=lambda i: comb,
        options={"crf": "0"},
        pix_fmt="yuv444p",
    )
    inner = first(decoder, path)[4:-4, 4:-4].astype(int)
    assert abs(inner - 127.5).max() < 4
    assert decoder.probe(path).interlaced
    list(decoder.frames(path))
    assert decoder.report is not None
    assert decoder.report.interlaced


@pytest.mark.slow
def test_very_wide_video_is_rejected(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "a.mkv",
        codec="ffv1",
        size=(4096, 16),
        frames=1,
        picture=lambda i: np.zeros((16, 4096, 3), np.uint8),
    )
    with pytest.raises(InputError, match="too narrow for a center crop") as e:
        list(decoder.frames(path))
    assert e.value.reason is Reason.UNREADABLE
