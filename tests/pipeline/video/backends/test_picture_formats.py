"""Pictures are recognized by their first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.video.backends.picture_formats import HEAD_BYTES, is_picture
from schemas.errors import InputError
from tests.support.inputs.media import make_video, numbered


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "ICO", "MPO"])
def test_pictures_are_recognized_whatever_their_name(tmp_path: Path, format: str) -> None:
    image = Image.fromarray(numbered(1, (64, 64)))
    image.save(tmp_path / "a.mp4", format=format)
    assert is_picture(tmp_path / "a.mp4", (tmp_path / "a.mp4").read_bytes()[:HEAD_BYTES])


@pytest.mark.parametrize(
    ("format", "codec"),
    [
        *((format, "mpeg4") for format in ("mp4", "mov", "matroska", "avi")),
        *((format, "mpeg2video") for format in ("mpeg", "mpegts", "mpeg2video")),
        *[("h264", "libx264"), ("hevc", "libx265"), ("flv", "flv")],
    ],
)
def test_videos_are_not_pictures_whatever_their_name(tmp_path: Path, format: str, codec: str) -> None:
    path = make_video(tmp_path / "a.jpg", frames=2, format=format, codec=codec)
    assert not is_picture(path, path.read_bytes()[:HEAD_BYTES])


def test_big_tiff_and_four_similar_bytes_of_a_video(tmp_path: Path) -> None:
    assert is_picture(Path("a"), b"II+\0\x08\0\0\0" + bytes(24))
    assert not is_picture(Path("a"), b"\0\0\1\0\x79\x01\x22" + bytes(25))  # VVC
    assert not is_picture(Path("a"), b"\0\0\1\0")


def test_a_sequence_of_jpegs_is_a_video_by_its_name() -> None:
    assert is_picture(Path("a.jpg"), b"\xff\xd8\xff\xe0")
    assert not is_picture(Path("a.MJPEG"), b"\xff\xd8\xff\xe0")


@pytest.mark.parametrize(
    ("brand", "is_rejected"), [(b"heic", True), (b"mif1", True), (b"hevc", False), (b"isom", False)]
)
def test_heic_pictures_are_rejected_and_sequences_are_videos(brand: bytes, is_rejected: bool) -> None:
    head = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand * 4
    if is_rejected:
        with pytest.raises(InputError, match="HEIC is not supported"):
            is_picture(Path("a.heic"), head)
    else:
        assert not is_picture(Path("a.heic"), head)
