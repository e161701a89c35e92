from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.captioning.config import CaptionConfig
from pipeline.captioning.frames import shown_frames
from schemas.errors import InputError
from tests.support.inputs.moving_video import moving, video


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.slow
def test_frames_are_at_equal_distances_and_removed_afterwards(tmp_path: Path) -> None:
    path = video(tmp_path / "v.mp4", moving(10), frames=60)
    with shown_frames(path, CaptionConfig(frames=3, size=64)) as (media, times):
        assert times[0] == 0.0
        assert np.allclose(np.diff(times), times[-1] / 2, atol=1)
        assert [_size(one.path) for one in media] == [(64, 64)] * 3
        first = [one.path.read_bytes() for one in media]
    assert not any(one.path.exists() for one in media)
    with shown_frames(path, CaptionConfig(frames=3, size=64)) as (media, _):
        assert [one.path.read_bytes() for one in media] == first
    assert len(set(first)) == 3


@pytest.mark.slow
def test_a_picture_is_one_frame_and_another_file_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (80, 40), (200, 10, 10)).save(tmp_path / "p.png")
    with shown_frames(tmp_path / "p.png", CaptionConfig(size=32)) as (media, times):
        assert (len(media), times) == (1, [0.0])
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(InputError), shown_frames(tmp_path / "bad.mp4", CaptionConfig()):
        pass
