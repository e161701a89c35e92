"""Text subtitle streams of video files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.video.decoder import Decoder
from pipeline.video.subtitles import plain_text
from tests.support.media import make_video

LINES = [(0.2, 0.5, "Good morning."), (0.8, 1.4, "Zwei Zeilen,\nätsch!")]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


@pytest.mark.parametrize(
    ("name", "video", "codec"),
    [
        ("a.mp4", "libx264", "mov_text"),
        ("a.mkv", "libx264", "subrip"),
        ("a.mkv", "libx264", "ass"),
        ("a.webm", "libvpx-vp9", "webvtt"),
    ],
)
def test_lines_have_their_times(decoder: Decoder, tmp_path: Path, name: str, video: str, codec: str) -> None:
    lines = [(start, end, text.replace("\n", "\\N") if codec == "ass" else text) for start, end, text in LINES]
    path = make_video(tmp_path / name, codec=video, subtitles=lines, subtitle_codec=codec, audio_s=0)
    assert decoder.subtitles(path) == [(pytest.approx(s), pytest.approx(e), text) for s, e, text in LINES]
    assert decoder.probe(path).subtitle_streams == 1


def test_times_count_from_the_first_frame(decoder: Decoder, tmp_path: Path) -> None:
    lines = [(1.0, 3.0, "before"), (3.5, 4.5, "across"), (5.0, 5.5, "within")]
    path = make_video(tmp_path / "a.mkv", start=100, subtitles=lines)
    assert decoder.subtitles(path) == [(0.0, pytest.approx(0.5), "across"), (1.0, pytest.approx(1.5), "within")]


def test_line_without_an_end_lasts_until_the_next_line(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", subtitles=[(0.2, 0.2, "one"), (0.9, 0.9, "two")])
    assert decoder.subtitles(path) == [(0.2, pytest.approx(0.9), "one"), (0.9, pytest.approx(5.9), "two")]


def test_video_without_subtitles_has_no_lines(decoder: Decoder, tmp_path: Path) -> None:
    assert decoder.subtitles(make_video(tmp_path / "a.mp4")) == []


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ("0,0,Default,,0,0,0,,plain, with a comma", "plain, with a comma"),
        (r"0,0,Default,,0,0,0,,{\an8}{\i1}up{\i0} here\Nand\hthere", "up here\nand there"),
        ("0,0,Default,,0,0,0,,<i>it</i> <font color='red'>x</font> < y", "it x < y"),
        (r"0,0,Default,,0,0,0,,{\p1}m 0 0 l 10 0{\p0}", ""),
        ("0,0,Default,,0,0,0,,  \\N ", ""),
    ],
)
def test_formatting_is_removed(event: str, text: str) -> None:
    assert plain_text(event) == text
