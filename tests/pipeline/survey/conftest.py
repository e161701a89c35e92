"""A folder of items of several kinds for the tests of the survey."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.pipeline.video.analysis.test_packets import remux
from tests.support.inputs.media import make_video, numbered


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos, one of them in two containers; a picture; a book; a file that is not a video."""
    folder = tmp_path / "in"
    folder.mkdir()
    make_video(folder / "a.mp4", frames=50)
    remux(folder / "a.mp4", folder / "b.mkv")
    make_video(folder / "c.mp4", frames=60, options={"crf": "20"})
    Image.fromarray(numbered(7, (128, 96))).save(folder / "d.png")
    (folder / "e.txt").write_text("It was a bright cold day in April. " * 30)
    (folder / "f.mp4").write_text("this is not a film")
    return folder
