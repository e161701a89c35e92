"""Frames as an H.264 video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.writing import write_video
from schemas.errors import ConfigError


@pytest.mark.parametrize("only_key_frames", [False, True])
def test_a_video_has_the_frames_and_the_rate(tmp_path: Path, only_key_frames: bool) -> None:
    frames = [np.full((32, 48, 3), level, np.uint8) for level in (0, 60, 120, 180, 240)]
    write_video(tmp_path / "v.mp4", frames, rate=29.97, only_key_frames=only_key_frames)
    with av.open(str(tmp_path / "v.mp4")) as container:
        [stream] = container.streams.video
        decoded = list(container.decode(stream))
        assert stream.average_rate == Fraction(2997, 100)
    shown = [frame.to_ndarray(format="rgb24") for frame in decoded]
    assert [int(frame.mean().round(-1)) for frame in shown] == [0, 60, 120, 180, 240]
    assert all(frame.shape == (32, 48, 3) for frame in shown)
    assert all(frame.key_frame for frame in decoded) or not only_key_frames


def test_odd_sizes_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be even, got 31 and 48"):
        write_video(tmp_path / "v.mp4", [np.zeros((31, 48, 3), np.uint8)], rate=4.0)
    assert list(tmp_path.iterdir()) == []
