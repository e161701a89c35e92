"""The thumbnails of a video: which frames are selected, and the strip that shows them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.video.analysis.thumbnails import ThumbnailSelector, short_side_to, write_strip
from pipeline.video.analysis.types import AnalysisConfig
from pipeline.video.decoder import Decoder
from pipeline.video.geometry import Orientation
from tests.support.inputs.media import make_video, numbered, quadrant_names, quadrants, read_number


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


def test_thumbnail_strip_shows_whole_rotated_frames(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", size=(96, 64), frames=100, rotation=90, picture=lambda i: quadrants((96, 64)))
    stats = decoder.analyze(path, AnalysisConfig(thumbnails=3, frames=True))
    strip = np.asarray(Image.open(io.BytesIO(stats.thumbnail)).convert("RGB"))
    assert strip.shape == (96, 3 * 64, 3)
    assert stats.frames.shape == (3, 384, 256, 3)
    assert {quadrant_names(strip[16:80, k * 64 : k * 64 + 64]) for k in range(3)} == {
        quadrant_names(stats.frames[0, 64:320])
    }


def test_selector_keeps_the_first_frame_after_the_middle_of_each_part(decoder: Decoder, tmp_path: Path) -> None:
    info = decoder.probe(make_video(tmp_path / "a.mp4", frames=100, size=(64, 64)))  # 4 s
    selector = ThumbnailSelector(info, 2)
    for number in range(0, 100, 10):
        frame = av.VideoFrame.from_ndarray(numbered(number, (64, 64)), format="rgb24")
        selector.offer(frame, Orientation(), number / 25)
    assert [read_number(picture) for picture in selector.pictures()] == [30, 80]


def test_selector_keeps_the_last_frame_if_no_other_was_due(decoder: Decoder, tmp_path: Path) -> None:
    info = decoder.probe(make_video(tmp_path / "a.mp4", frames=100, size=(64, 64)))
    selector = ThumbnailSelector(info, 1)
    for number in (1, 2):
        selector.offer(av.VideoFrame.from_ndarray(numbered(number, (64, 64)), format="rgb24"), Orientation(), 0.1)
    assert [read_number(picture) for picture in selector.pictures()] == [2]


def test_short_side_is_scaled_and_the_long_side_limited() -> None:
    assert short_side_to(256, 720, 1280) == (256, 455)
    assert short_side_to(256, 1280, 720) == (455, 256)
    assert short_side_to(256, 100, 1000) == (256, 1024)


def test_strip_is_one_webp_of_all_pictures() -> None:
    strip = Image.open(io.BytesIO(write_strip(np.zeros((3, 192, 256, 3), np.uint8))))
    assert (strip.format, strip.size) == ("WEBP", (3 * 128, 96))
