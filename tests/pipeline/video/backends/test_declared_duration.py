"""What a file promises equals what it contains, in every container, unless something is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.video.decoder import DecodeConfig, Decoder, DecodeReport
from tests.support.inputs.media import make_video


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=32, fps=4)) as decoder:
        yield decoder


def report(decoder: Decoder, path: Path) -> DecodeReport:
    for _ in decoder.frames(path):
        pass
    assert decoder.report is not None
    return decoder.report


@pytest.mark.parametrize("rate", [10, 25])
@pytest.mark.parametrize(
    ("format", "codec", "options"),
    [
        ("h264", "libx264", {}),
        ("h264", "libx264", {"bf": "0"}),
        ("hevc", "libx265", {}),
        ("m4v", "mpeg4", {}),
        ("mpegts", "libx264", {}),
        ("flv", "libx264", {}),
        ("avi", "mpeg4", {}),
        ("matroska", "libx264", {}),
        ("nut", "libx264", {}),
        ("ivf", "libvpx-vp9", {}),
        ("asf", "wmv2", {}),
    ],
)
def test_intact_video_promises_its_frames(
    decoder: Decoder, tmp_path: Path, format: str, codec: str, options: dict[str, str], rate: int
) -> None:
    path = make_video(tmp_path / "a", codec=codec, format=format, frames=60, rate=rate, options=options)
    found = report(decoder, path)
    assert found.source_frames == 60
    assert found.duration_s == pytest.approx(60 / rate, abs=0.02)
    assert found.duration_promised_s == pytest.approx(60 / rate, abs=0.02)
    assert found.frames == found.frames_promised == -(-60 * 4 // rate)


@pytest.mark.parametrize(
    ("format", "codec"),
    [("mpeg", "mpeg2video"), ("mpeg1video", "mpeg1video"), ("mpeg2video", "mpeg2video"), ("dv", "dvvideo")],
)
def test_duration_that_ffmpeg_would_estimate_is_measured(
    decoder: Decoder, tmp_path: Path, format: str, codec: str
) -> None:
    size = (720, 576) if codec == "dvvideo" else (96, 64)
    found = report(decoder, make_video(tmp_path / "a", codec=codec, format=format, frames=24, size=size))
    assert found.duration_promised_s == pytest.approx(0.96, abs=0.01)
    assert (found.frames, found.frames_promised) == (4, 4)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.flv", "libx264", {}),
        ("a.wmv", "wmv2", {}),
        ("a.mp4", "libx264", {}),
        ("a.avi", "mpeg4", {}),
        ("a.ts", "libx264", {}),
        ("a.mkv", "libx264", {}),
        ("a.mkv", "libx264", {"live": "1"}),
        ("a.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_longer_audio_is_no_promise_of_video(
    decoder: Decoder, tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = make_video(tmp_path / name, codec=codec, frames=24, audio_s=6.0, container_options=options)
    found = report(decoder, path)
    assert found.duration_promised_s == pytest.approx(0.96, abs=0.13)
    assert found.shortfall == 0


@pytest.mark.parametrize("name", ["a.mkv", "a.flv"])
def test_truncated_file_with_audio_promises_what_is_missing(decoder: Decoder, tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, frames=250, audio_s=10.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    found = report(decoder, path)
    assert found.duration_promised_s == pytest.approx(10, abs=0.2)
    assert found.shortfall > 10


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
def test_variable_frame_rate_promises_the_time_of_the_last_frame(decoder: Decoder, tmp_path: Path, name: str) -> None:
    pts = [0, 1, 2, 10, 11, 12, 50, 51]
    found = report(decoder, make_video(tmp_path / name, frames=8, pts=pts, options={"bf": "0"}))
    assert found.duration_promised_s == pytest.approx(52 / 25, abs=0.1)
    assert found.frames == found.frames_promised


def test_avi_without_an_index_promises_its_frames(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", codec="mpeg4", frames=50)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"idx1")])
    found = report(decoder, path)
    assert (found.source_frames, found.frames, found.shortfall) == (50, 8, 0)


def test_concatenated_transport_streams_promise_both_parts(decoder: Decoder, tmp_path: Path) -> None:
    parts = [make_video(tmp_path / f"{start}.ts", frames=50, start=start).read_bytes() for start in (0, 5000)]
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    found = report(decoder, tmp_path / "a.ts")
    assert found.duration_promised_s == pytest.approx(4, abs=0.2)
    assert found.frames == found.frames_promised


@pytest.mark.slow
def test_frame_rate_of_a_bare_stream_is_the_one_in_its_headers(decoder: Decoder, tmp_path: Path) -> None:
    rates: dict[str, Any] = {}
    for format, codec in (("h264", "libx264"), ("hevc", "libx265"), ("m4v", "mpeg4")):
        rates[format] = decoder.probe(make_video(tmp_path / format, codec=codec, format=format, rate=10)).frame_rate
    rates["dv"] = decoder.probe(make_video(tmp_path / "dv", codec="dvvideo", format="dv", size=(720, 576))).frame_rate
    assert rates == {"h264": 10, "hevc": 10, "m4v": 10, "dv": 25}
