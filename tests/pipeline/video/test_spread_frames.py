"""Some frames of a video, at equal distances."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.spread_frames import spread_indices, thinned_frames
from tests.support.inputs.media import make_video


def test_a_long_video_is_thinned_by_powers_of_two(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=40, rate=1)
    with Decoder(DecodeConfig(fps=1.0, size=32)) as decoder:
        every, times = thinned_frames(decoder, path, held=100)
        some, some_times = thinned_frames(decoder, path, held=8)
    assert times.tolist() == list(range(40))
    assert some_times.tolist() == [0, 8, 16, 24, 32]
    assert np.array_equal(some, every[::8])


def test_indices_are_spread_from_the_first_to_the_last() -> None:
    assert spread_indices(10, 4).tolist() == [0, 3, 6, 9]
    assert spread_indices(10, 1).tolist() == [0]
    assert spread_indices(3, 20).tolist() == [0, 1, 2]
