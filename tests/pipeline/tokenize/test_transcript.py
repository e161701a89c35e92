"""Transcripts on the clock of the frames, in containers whose video starts later than they do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.transcript import ItemTranscript, item_transcript
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import InputError, Reason
from schemas.fingerprint import sha256_file
from schemas.rows import EMBEDDED, SurveyRow
from tests.support.inputs.media import Cue, make_video, numbered

FPS, DELAY_S = 25, 2
CUES = [
    *((-1.0, 0.5, "before the file"), (0.5, 1.5, "before the video"), (1.5, 2.5, "across the start")),
    *((3.0, 3.5, "within"), (4.0, 9.0, "across the end"), (9.0, 10.0, "after the video")),
]
SHOWN = [(0.0, 0.5, "across the start"), (1.0, 1.5, "within"), (2.0, 3.0, "across the end")]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(fps=5)) as decoder:
        yield decoder


def srt(cues: list[Cue]) -> str:
    return "".join(f"{_clock(start)} --> {_clock(end)}\n{text}\n\n" for start, end, text in cues)


def _clock(seconds: float) -> str:
    return f"{'-' * (seconds < 0)}00:00:{abs(seconds):06.3f}".replace(".", ",")


def find(path: Path, decoder: Decoder, transcript: Path | None = None, **changes: Any) -> ItemTranscript:
    """Return the transcript of a video after its frames were decoded, from a file or from the video itself."""
    for _ in decoder.frames(path):
        pass
    row = SurveyRow(uri=str(path), kind="video", transcript=EMBEDDED)
    if transcript:
        row = dataclasses.replace(row, transcript=str(transcript), transcript_sha256=sha256_file(transcript))
    return item_transcript(path, dataclasses.replace(row, **changes), decoder, TokenizeConfig(decode=decoder.config))


def times(found: ItemTranscript) -> list[tuple[float, float, str]]:
    return [(round(cue.start_s, 1), round(cue.end_s, 1), cue.text) for cue in found.transcript.cues]


CONTAINERS = [
    ("a.mkv", {}),
    ("a.mp4", {}),
    ("a.mov", {}),
    ("a.ts", {}),
    ("a.flv", {}),
    ("a.webm", {"codec": "libvpx-vp9", "audio_codec": "libopus"}),
]


@pytest.mark.parametrize(("name", "options"), CONTAINERS)
def test_the_times_of_a_file_count_from_the_start_of_the_container(
    decoder: Decoder, tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    path = make_video(tmp_path / name, frames=3 * FPS, start=DELAY_S * FPS, audio_s=5, **options)  # type: ignore[arg-type]
    sidecar = tmp_path / "a.srt"
    sidecar.write_text(srt(CUES))
    found = find(path, decoder, sidecar)
    assert decoder.report is not None
    assert decoder.report.start_s == pytest.approx(DELAY_S, abs=0.1)
    assert [cue.text for cue in found.transcript.cues] == [text for _, _, text in SHOWN]
    for cue, (start_s, end_s, _) in zip(
        found.transcript.cues, SHOWN, strict=True
    ):  # streams begin with a frame's delay
        assert (cue.start_s, cue.end_s) == (pytest.approx(start_s, abs=0.1), pytest.approx(end_s, abs=0.1))
    assert found.transcript.outside == 3
    assert found.note == "transcript: 3 outside the video, 2 cut to the time of the video"


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "subrip"), ("a.mkv", "ass"), ("a.mp4", "mov_text")])
def test_embedded_cues_have_the_times_of_a_file_with_the_same_cues(
    decoder: Decoder, tmp_path: Path, name: str, codec: str
) -> None:
    cues = CUES[1:]  # a container has no negative times
    path = make_video(tmp_path / name, frames=75, start=50, audio_s=5, subtitles=cues, subtitle_codec=codec)
    (tmp_path / "a.srt").write_text(srt(cues))
    embedded, file = find(path, decoder), find(path, decoder, tmp_path / "a.srt")
    assert times(embedded) == times(file) == SHOWN
    assert embedded.transcript.outside == file.transcript.outside == 2


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_a_container_without_another_stream_starts_with_the_video(decoder: Decoder, tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, frames=75, start=50)
    (tmp_path / "a.srt").write_text(srt([(1.0, 2.0, "one"), (3.1, 4.0, "after")]))
    assert times(find(path, decoder, tmp_path / "a.srt")) == [(1.0, 2.0, "one")]


def test_cues_of_a_whole_film_next_to_a_clip_are_left_out_and_counted(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=50)
    (tmp_path / "a.srt").write_text(srt([(float(second), second + 0.5, f"line {second}") for second in range(60)]))
    found = find(path, decoder, tmp_path / "a.srt")
    assert times(found) == [(0.0, 0.5, "line 0"), (1.0, 1.5, "line 1")]
    assert found.note == "transcript: 58 outside the video"


def test_the_transcript_of_a_copy_has_its_own_shift_and_is_not_required(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=50, start=50, audio_s=4)
    sidecar = tmp_path / "b.srt"
    sidecar.write_text(srt([(3.0, 3.5, "within")]))
    assert times(find(path, decoder, sidecar, transcript_shift_s=-2.5)) == [(0.5, 1.0, "within")]
    sidecar.write_text("00:00:0x,000 --> 00:00:02,000\nx\n")
    found = find(path, decoder, sidecar, transcript_shift_s=0.0)
    assert times(found) == []
    assert found.note.startswith("the transcript of its copy is not used: invalid transcript: line 1 has a malformed")
    with pytest.raises(InputError) as caught:
        find(path, decoder, sidecar)
    assert caught.value.reason is Reason.BAD_TRANSCRIPT


def test_a_picture_shows_the_cues_of_its_only_moment(decoder: Decoder, tmp_path: Path) -> None:
    Image.fromarray(numbered(1, (128, 96))).save(tmp_path / "a.png")
    (tmp_path / "a.srt").write_text(srt([(0.0, 2.0, "now"), (1.0, 2.0, "later")]))
    found = find(tmp_path / "a.png", decoder, tmp_path / "a.srt")
    assert times(found) == [(0.0, 0.2, "now")]
    assert found.transcript.outside == 1


@pytest.mark.slow
def test_an_item_without_a_transcript_has_no_cues(tmp_path: Path) -> None:
    found = item_transcript(tmp_path / "a.mp4", SurveyRow(uri="a", kind="video"), Decoder(), TokenizeConfig())
    assert found == ItemTranscript(found.transcript, "")
    assert found.transcript.cues == ()
