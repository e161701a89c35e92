"""The protocol of frame sources: every built-in source and the test's own one implement it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.video.backends.decord import DecordSource
from pipeline.video.backends.pillow import PictureSource
from pipeline.video.backends.pyav import PyAVSource
from pipeline.video.backends.source import AnalysisSource, FrameSource
from tests.support.array_backend import ArraySource
from tests.support.inputs.media import make_video, numbered, read_number

SIZE = (64, 64)


def make(folder: Path, source: type[FrameSource]) -> Path:
    """Write a file of one frame, number 9, that a source reads."""
    if source is PictureSource:
        Image.fromarray(numbered(9, SIZE)).save(folder / "a.png")
        return folder / "a.png"
    if source is ArraySource:
        np.save(folder / "a.npy", numbered(9, SIZE)[None])
        return folder / "a.npy"
    return make_video(folder / "a.mp4", frames=1, size=SIZE, picture=lambda i: numbered(9, SIZE))


@pytest.mark.parametrize("source", [PyAVSource, DecordSource, PictureSource, ArraySource])
def test_source_gives_frames_and_their_description(source: type[FrameSource], tmp_path: Path) -> None:
    path = make(tmp_path, source)
    with source(path, size=32, max_pixels=1 << 20) as opened:  # type: ignore[call-arg]
        assert (opened.path, opened.info.width, opened.info.height) == (path, 64, 64)
        assert opened.tick_s > 0
        assert opened.default_duration_s > 0
        assert not opened.allows_jumps
        for frame in opened.timed_frames():
            assert frame.time_s == 0
            assert read_number(opened.render(frame.content)) == 9
            assert opened.thumbnail(frame.content, (16, 9)).shape == (9, 16, 3)
        assert (opened.decode_errors, opened.corrupt_frames, opened.interlaced, opened.detail) == (0, 0, False, "")


@pytest.mark.parametrize("source", [PyAVSource, PictureSource])
def test_analysis_source_gives_ffmpeg_frames(source: type[AnalysisSource], tmp_path: Path) -> None:
    with source(make(tmp_path, source), size=32, max_pixels=1 << 20) as opened:  # type: ignore[call-arg]
        frame = next(opened.timed_frames())
        whole, oriented = opened.oriented_frame(frame.content)
        assert (whole.width, whole.height, oriented.turns, oriented.flip) == (64, 64, 0, False)
