"""Text subtitle streams of video files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.text.transcripts.reading import embedded_transcript
from pipeline.video.decoder import Decoder
from pipeline.video.subtitles import event_text
from tests.support.inputs.media import make_video

LINES = [(0.2, 0.5, "Good morning."), (0.8, 1.4, "Zwei Zeilen,\nätsch!")]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


CONTAINERS = [
    ("a.mp4", "libx264", "mov_text"),
    ("a.mov", "libx264", "mov_text"),
    ("a.mkv", "libx264", "subrip"),
    ("a.mkv", "libx264", "ass"),
    ("a.webm", "libvpx-vp9", "webvtt"),
]


def lines_of(codec: str, lines: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    return [(start, end, text.replace("\n", "\\N") if codec == "ass" else text) for start, end, text in lines]


@pytest.mark.parametrize(("name", "video", "codec"), CONTAINERS)
def test_lines_have_their_times(decoder: Decoder, tmp_path: Path, name: str, video: str, codec: str) -> None:
    path = make_video(
        tmp_path / name, codec=video, subtitles=lines_of(codec, LINES), subtitle_codec=codec, audio_s=0, frames=10
    )
    cues = embedded_transcript(decoder.subtitles(path)).cues
    assert [(cue.start_s, cue.end_s, cue.text) for cue in cues] == [
        (pytest.approx(start), pytest.approx(end), text) for start, end, text in LINES
    ]
    assert decoder.probe(path).subtitle_streams == 1


@pytest.mark.parametrize(("name", "video", "codec"), CONTAINERS)
def test_rolling_lines_are_unrolled(decoder: Decoder, tmp_path: Path, name: str, video: str, codec: str) -> None:
    rolling = [
        (0.0, 1.0, "welcome to the series"),
        (1.0, 1.01, "welcome to the series"),
        (1.01, 2.0, "welcome to the series\non networks"),
        (2.0, 2.01, "on networks"),
        (2.01, 3.0, "on networks\nprogramming"),
    ]
    path = make_video(tmp_path / name, codec=video, subtitles=lines_of(codec, rolling), subtitle_codec=codec, frames=10)
    transcript = embedded_transcript(decoder.subtitles(path))
    assert [cue.text for cue in transcript.cues] == ["welcome to the series", "on networks", "programming"]
    assert [cue.start_s for cue in transcript.cues] == [pytest.approx(start, abs=0.011) for start in (0, 1.01, 2.01)]


def test_times_count_from_the_first_frame(decoder: Decoder, tmp_path: Path) -> None:
    lines = [(1.0, 3.0, "before"), (3.5, 4.5, "across"), (5.0, 5.5, "within")]
    path = make_video(tmp_path / "a.mkv", start=100, subtitles=lines)
    assert decoder.subtitles(path) == [
        (-3.0, pytest.approx(-1.0), "before"),
        (-0.5, pytest.approx(0.5), "across"),
        (1.0, pytest.approx(1.5), "within"),
    ]


def test_line_without_an_end_lasts_until_the_next_line(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", subtitles=[(0.2, 0.2, "one"), (0.9, 0.9, "two")])
    assert decoder.subtitles(path) == [(0.2, pytest.approx(0.9), "one"), (0.9, pytest.approx(5.9), "two")]


def test_video_without_subtitles_has_no_lines(decoder: Decoder, tmp_path: Path) -> None:
    assert decoder.subtitles(make_video(tmp_path / "a.mp4")) == []


def test_the_text_is_the_last_field_of_an_event() -> None:
    assert event_text(r"0,0,Default,,0,0,0,,{\i1}plain, with a comma") == r"{\i1}plain, with a comma"


def test_braces_and_backslashes_of_webvtt_are_text(decoder: Decoder, tmp_path: Path) -> None:
    subtitles = [(0.2, 0.5, r"a {b} C:\Names <i>d</i>")]
    path = make_video(tmp_path / "a.webm", codec="libvpx-vp9", subtitles=subtitles, subtitle_codec="webvtt", frames=5)
    (cue,) = embedded_transcript(decoder.subtitles(path)).cues
    assert cue.text == r"a {b} C:\Names d"
