"""The video stream is the one that the ffmpeg command chooses, and its alpha channel is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from pipeline.video.backends.container import open_container
from pipeline.video.backends.pyav import PyAVSource
from pipeline.video.backends.stream_choice import open_decoder, video_stream
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import InputError
from tests.support.inputs.media import make_video, read_number
from tests.support.inputs.streams import StreamSpec, make_streams
from tests.support.inputs.transparent import make_png_video, make_transparent, palette_picture, shown_colors

NONE, DEFAULT = Disposition(0), Disposition.default
SMALL, LARGE, HUGE = (64, 48), (192, 144), (2600, 2000)
WHITE = [255, 255, 255]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=4)) as decoder:
        yield decoder


def chosen(path: Path) -> int:
    with open_container(path, max_pixels=1 << 24) as container:
        return video_stream(container, path, max_pixels=1 << 24).index


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts", "a.avi", "a.nut"])
def test_the_stream_with_the_most_pixels_is_chosen_in_every_container(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    for order, expected in (((SMALL, LARGE), 1), ((LARGE, SMALL), 0)):
        assert chosen(make_streams(tmp_path / name, [StreamSpec(size, codec=codec) for size in order])) == expected


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        ([StreamSpec(LARGE, disposition=NONE), StreamSpec(SMALL)], 1),  # default counts as 5,000,000 pixels
        ([StreamSpec(SMALL), StreamSpec(HUGE, disposition=NONE, frames=2)], 1),
        ([StreamSpec(SMALL), StreamSpec(SMALL)], 0),
        ([StreamSpec(SMALL, disposition=DEFAULT | Disposition.dub), StreamSpec(LARGE, disposition=NONE)], 0),
        ([StreamSpec(SMALL), StreamSpec(LARGE, frames=0)], 0),  # without packets
    ],
)
def test_default_streams_and_streams_with_packets_come_first(
    tmp_path: Path, streams: list[StreamSpec], expected: int
) -> None:
    assert chosen(make_streams(tmp_path / "a.mkv", streams)) == expected


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_cover_art_is_never_the_video_however_large_it_is(tmp_path: Path, name: str) -> None:
    cover = StreamSpec((640, 480), frames=1, codec="mjpeg", disposition=Disposition.attached_pic)
    for streams in ([StreamSpec(SMALL), cover], [cover, StreamSpec(SMALL)]):
        path = make_streams(tmp_path / name, streams)
        with PyAVSource(path, size=64, max_pixels=1 << 20) as source:
            assert (source.info.width, source.info.height) == SMALL


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_every_request_uses_the_chosen_stream(tmp_path: Path, backend: str) -> None:
    path = make_streams(tmp_path / "a.mp4", [StreamSpec(SMALL, first=100), StreamSpec(LARGE, first=200)])
    with Decoder(DecodeConfig(size=64, fps=4, backend=backend)) as decoder:
        info, stats = decoder.probe(path), decoder.analyze(path)
        numbers = [read_number(frame) for frames, _ in decoder.frames(path, shots="content") for frame in frames]
    assert (info.width, info.height) == LARGE
    assert (stats.info.width, stats.crop) == (LARGE[0], (0, 0, *LARGE))
    assert numbers == list(range(200, 224, 2))


def test_decord_rejects_a_file_whose_stream_it_may_mistake(tmp_path: Path) -> None:
    path = make_streams(tmp_path / "a.mp4", [StreamSpec(SMALL, first=100), StreamSpec(SMALL, first=200)])
    with (
        Decoder(DecodeConfig(size=64, backend="decord")) as decoder,
        pytest.raises(InputError, match="several video streams of one size"),
    ):
        list(decoder.frames(path))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
        ("a.mov", "prores_ks", "yuva444p10le", {}),
        ("a.mov", "qtrle", "argb", {}),
        ("a.mov", "png", "rgba", {}),
        ("a.mov", "png", "rgba64be", {}),
        ("a.mkv", "ffv1", "yuva420p", {}),
        ("a.mkv", "ffv1", "yuva444p16le", {}),
        ("a.mkv", "ffv1", "gbrap12le", {}),
        ("a.mov", "cfhd", "gbrap12le", {}),
        ("a.avi", "utvideo", "gbrap", {}),
        ("a.avi", "magicyuv", "gbrap", {}),
        ("a.avi", "rawvideo", "bgra", {}),
        ("a.nut", "rawvideo", "yuva420p", {}),
    ],
)
def test_alpha_of_every_codec_is_put_over_white(
    decoder: Decoder, tmp_path: Path, name: str, codec: str, pix_fmt: str, options: dict[str, str]
) -> None:
    check_over_white(decoder, make_transparent(tmp_path / name, codec, pix_fmt, options=options))


def test_transparent_colors_of_a_palette_are_put_over_white(decoder: Decoder, tmp_path: Path) -> None:
    check_over_white(decoder, make_png_video(tmp_path / "a.mov", [palette_picture()] * 3))


def check_over_white(decoder: Decoder, path: Path) -> None:
    (frames, _), *_ = decoder.frames(path)
    opaque, transparent, spot = shown_colors(frames[0])
    assert opaque == pytest.approx([200, 0, 0], abs=3)
    assert transparent == pytest.approx(WHITE, abs=2)
    assert spot == pytest.approx([127, 127, 255], abs=6)
    stats = decoder.analyze(path)
    assert stats.measures["brightness"] > 140  # luma is that of the picture over white, too
    assert stats.crop == (0, 0, stats.info.width, stats.info.height)


def test_videos_that_differ_in_alpha_only_have_different_content(decoder: Decoder, tmp_path: Path) -> None:
    options = {"deadline": "realtime", "cpu-used": "8"}
    path = make_transparent(tmp_path / "a.webm", "libvpx-vp9", "yuva420p", options=options)
    with av.open(str(path)) as given, av.open(str(tmp_path / "b.webm"), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                plain = av.Packet(bytes(packet))
                plain.stream, plain.pts, plain.dts = stream, packet.pts, packet.dts
                plain.time_base, plain.is_keyframe = packet.time_base, packet.is_keyframe
                out.mux(plain)
    assert decoder.analyze(path).content_id != decoder.analyze(tmp_path / "b.webm").content_id


@pytest.mark.slow
def test_alpha_that_no_decoder_gives_is_noted(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", codec="mpeg4", frames=2)
    with open_container(path, max_pixels=1 << 20) as container:
        stream = container.streams.video[0]
        assert open_decoder(stream, max_pixels=1 << 20)[1] == ""
        stream.metadata["alpha_mode"] = "1"
        assert "alpha channel of mpeg4 cannot be decoded" in open_decoder(stream, max_pixels=1 << 20)[1]
