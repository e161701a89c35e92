from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.inputs.media import make_video, numbered


@pytest.fixture(scope="package")
def numbered_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of ten frames on the grid, numbered 0, 5, … and 1000, 1005, …; an image; and another file."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "a.mp4", frames=50)
    make_video(folder / "b.mp4", frames=50, picture=lambda i: numbered(1000 + i, (96, 64)))
    Image.fromarray(np.full((60, 60, 3), 77, np.uint8)).save(folder / "c.png")
    (folder / "d.mp4").write_bytes(b"no video at all")
    return folder
