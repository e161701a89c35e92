"""Which source opens a file: by its first bytes, not by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.video.backends.decord import DecordSource
from pipeline.video.backends.opening import open_for_analysis, open_for_frames
from pipeline.video.backends.pillow import PictureSource
from pipeline.video.backends.pyav import PyAVSource
from schemas.errors import InputError, Reason
from tests.support.inputs.media import make_video, numbered

LIMITS = {"size": 32, "max_pixels": 1 << 20}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(numbered(1, (64, 64))).save(tmp_path / "picture.mp4", format="PNG")
    return tmp_path / "picture.mp4"


def test_videos_are_opened_with_the_selected_backend(tmp_path: Path) -> None:
    path = make_video(tmp_path / "video.mp4", frames=3)
    for backend, expected in (("pyav", PyAVSource), ("decord", DecordSource)):
        with open_for_frames(path, backend=backend, **LIMITS) as source:
            assert isinstance(source, expected)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_pictures_are_opened_with_pillow_for_every_backend(picture: Path, backend: str) -> None:
    with open_for_frames(picture, backend=backend, **LIMITS) as source:
        assert isinstance(source, PictureSource)


def test_analysis_opens_pictures_with_pillow_and_videos_with_pyav(picture: Path, tmp_path: Path) -> None:
    with open_for_analysis(picture, **LIMITS) as source:
        assert isinstance(source, PictureSource)
    with open_for_analysis(make_video(tmp_path / "video.png.mp4", frames=3), **LIMITS) as source:
        assert isinstance(source, PyAVSource)


def test_files_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    cases = {
        tmp_path / "missing.mp4": Reason.MISSING,
        tmp_path / "empty.mp4": Reason.EMPTY,
        tmp_path: Reason.UNREADABLE,
    }
    for path, reason in cases.items():
        with pytest.raises(InputError) as e:
            open_for_analysis(path, **LIMITS)
        assert e.value.reason is reason
