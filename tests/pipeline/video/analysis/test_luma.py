"""The luma of frames of every pixel format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.analysis.luma import LumaScaler, frame_luma, rotate
from pipeline.video.decoder import Decoder
from pipeline.video.geometry import Orientation
from tests.support.inputs.media import flat_yuv
from tests.support.inputs.moving_video import moving, video


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p", "gray", "bgr0"])
def test_luma_is_read_from_every_pixel_format(decoder: Decoder, tmp_path: Path, pix_fmt: str) -> None:
    codec = "ffv1" if pix_fmt in ("gray", "bgr0") else "libx264"
    plain = decoder.analyze(video(tmp_path / "plain.mkv", moving(4), codec="ffv1"))
    stats = decoder.analyze(video(tmp_path / "a.mkv", moving(4), codec=codec, pix_fmt=pix_fmt, color_range=0))
    assert stats.measures["brightness"] == pytest.approx(plain.measures["brightness"], abs=3)
    apart = np.abs(
        np.array([[*s] for s in stats.signatures], float) - np.array([[*s] for s in plain.signatures], float)
    )
    assert apart.mean() < 4


def test_luma_plane_of_a_frame_is_read_without_conversion() -> None:
    luma, is_full = frame_luma(flat_yuv((110, 100, 170), (97, 63), "yuv420p"))
    assert (luma.shape, luma.min(), luma.max(), is_full) == ((63, 97), 110, 110, False)
    luma, is_full = frame_luma(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), format="rgb24"))
    assert (luma.shape, is_full) == ((64, 64), True)
    assert luma.mean() == pytest.approx(128, abs=1)


def test_luma_of_transparent_pixels_is_white() -> None:
    rgba = av.VideoFrame.from_ndarray(np.zeros((64, 64, 4), np.uint8), format="rgba")
    for pix_fmt in ("rgba", "yuva420p"):
        luma, is_full = frame_luma(rgba.reformat(format=pix_fmt))
        assert (luma.min(), is_full) == (255, True)


def test_scaling_averages_areas_to_every_size() -> None:
    luma = np.kron(np.array([[0, 100], [200, 60]], np.uint8), np.ones((32, 32), np.uint8))
    small, single = LumaScaler(2).scale(luma, [(2, 2), (1, 1)])
    assert small.tolist() == [[0, 100], [200, 60]]
    assert int(single[0, 0]) == pytest.approx(90, abs=1)


@pytest.mark.slow
def test_rotation_mirrors_first() -> None:
    picture = np.array([[1, 2], [3, 4]], np.uint8)
    assert rotate(picture, Orientation(1)).tolist() == [[2, 4], [1, 3]]
    assert rotate(picture, Orientation(0, flip=True)).tolist() == [[2, 1], [4, 3]]
    assert rotate(picture, Orientation(1, flip=True)).tolist() == [[1, 3], [2, 4]]
