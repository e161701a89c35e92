"""The frames between two times are written as a video of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.files.video_parts import write_part
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError
from tests.support.inputs.media import make_video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of gray that becomes lighter by 20 with each quarter."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    make_video(path, frames=12, rate=4, picture=lambda i: np.full((64, 96, 3), 10 + 20 * i, np.uint8))
    return path


def _grays(path: Path) -> list[int]:
    with Decoder(DecodeConfig(fps=4.0, size=16)) as decoder:
        return [round(float(frame.mean())) for frames, _ in decoder.frames(path) for frame in frames]


@pytest.mark.parametrize(
    ("seconds", "frames"), [((0, 0.5), [0, 1, 2]), ((1, 1.5), [4, 5, 6]), ((1.1, 1.2), [4]), ((2.75, 60), [11])]
)
def test_the_frames_from_start_to_end_are_written(
    video: Path, tmp_path: Path, seconds: tuple[float, float], frames: list[int]
) -> None:
    found = _grays(write_part(video, seconds, tmp_path))
    assert found == pytest.approx([10 + 20 * n for n in frames], abs=3)


def test_a_part_after_the_end_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no frame from 9 to 10 seconds"):
        write_part(video, (9, 10), tmp_path)
    assert not list(tmp_path.iterdir())
