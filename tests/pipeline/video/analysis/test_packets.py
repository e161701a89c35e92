"""Content hashes and durations from the packets of a video."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import pytest

from pipeline.video.analysis.nal import SliceParser
from pipeline.video.analysis.packets import PacketReader
from pipeline.video.backends.container import open_container
from pipeline.video.backends.stream_choice import video_stream
from tests.support.inputs.media import make_video

_ALLOWS_JUMPS = {"mpegts", "mpeg"}


def read(path: Path) -> PacketReader:
    with open_container(path, max_pixels=1 << 30) as container:
        stream = video_stream(container, path, max_pixels=1 << 30)
        packets = PacketReader(container, stream, allows_jumps=container.format.name in _ALLOWS_JUMPS)
        for _ in packets.read():
            pass
        return packets


def remux(source: Path, target: Path, *, drop_last: int = 0) -> Path:
    """Copy the video packets into another container."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0], opaque=True)
        packets = [p for p in given.demux(given.streams.video[0]) if p.size]
        for packet in packets[: len(packets) - drop_last]:
            packet.stream = stream
            made.mux(packet)
    return target


@pytest.mark.parametrize(
    ("codec", "names"),
    [
        ("libx264", ("a.mp4", "b.mkv", "c.ts", "d.mkv", "e.mp4", "f.mov", "g.flv", "h.h264")),
        ("libx265", ("a.mp4", "b.mkv", "c.ts", "d.mp4", "e.hevc")),
        ("libvpx-vp9", ("a.webm", "b.mkv", "c.mp4", "d.webm")),
        ("libsvtav1", ("a.mp4", "b.mkv")),
        ("mpeg4", ("a.mp4", "b.mkv", "c.mp4")),
        ("mpeg2video", ("a.mpg", "b.ts", "c.mkv")),
    ],
)
def test_remux_has_the_same_content_id(tmp_path: Path, codec: str, names: tuple[str, ...]) -> None:
    options = {"bf": "2", "g": "10"} if codec != "libsvtav1" else {}
    source = make_video(tmp_path / names[0], codec=codec, frames=40, options=options)
    first, found = read(source), {}
    for name in names[1:]:
        source = remux(source, tmp_path / name)
        found[name] = read(source).content_id
    assert found == dict.fromkeys(names[1:], first.content_id)
    assert len({hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names}) == len(names)
    assert first.count == 40
    assert first.end_s == pytest.approx(1.6, abs=0.05)


def test_other_pictures_sizes_or_lengths_have_other_content_ids(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4", frames=20)
    others = [
        make_video(tmp_path / "b.mp4", frames=20, options={"crf": "13"}),
        make_video(tmp_path / "c.mp4", frames=20, size=(96, 66)),
        remux(whole, tmp_path / "d.mp4", drop_last=1),
    ]
    assert len({read(path).content_id for path in [whole, *others]}) == 4


def test_truncated_file_equals_neither_the_whole_nor_a_shorter_video(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4", container_options={"movflags": "faststart"}, frames=100)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:-2000])
    cut = read(tmp_path / "cut.mp4")
    assert cut.detail
    assert 0 < cut.end_s < 4
    assert read(whole).content_id == hash_of_readable_packets(whole)
    assert len({read(whole).content_id, cut.content_id, hash_of_readable_packets(tmp_path / "cut.mp4")}) == 3


def hash_of_readable_packets(path: Path) -> str:
    """Return the content id of a complete video with the readable packets."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        slices, found = SliceParser.for_stream("h264", context.extradata or b""), hashlib.sha256(b"h264 96x64 ")
        assert slices is not None
        for packet in container.demux(container.streams.video[0]):
            for unit in slices.slices(bytes(packet)):
                found.update(len(unit).to_bytes(4, "big") + unit)
    return found.hexdigest()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.mpg"])
def test_durations_and_presentation_times_of_packets(tmp_path: Path, name: str) -> None:
    codec, between = ("mpeg2video", "0") if name == "a.mpg" else ("libx264", "2")
    options = {"bf": between, "g": "25", "sc_threshold": "0"}
    path = make_video(tmp_path / name, codec=codec, frames=75, start=100, options=options)
    with open_container(path, max_pixels=1 << 30) as container:
        stream = video_stream(container, path, max_pixels=1 << 30)
        packets = PacketReader(container, stream, allows_jumps=container.format.name in _ALLOWS_JUMPS)
        read = [(packet.size, packet.is_keyframe, at_s) for packet, at_s in packets.read()]
    at = [at_s for _, is_key, at_s in read if is_key]
    assert packets.size_bytes == sum(size for size, _, _ in read)
    assert at == pytest.approx([0, 1, 2], abs=0.1)
    assert packets.end_s == pytest.approx(3.0, abs=0.1)


def test_time_continues_after_a_clock_reset(tmp_path: Path) -> None:
    one = make_video(tmp_path / "one.ts", frames=50, start=25 * 60)
    other = make_video(tmp_path / "other.ts", frames=50)
    (tmp_path / "both.ts").write_bytes(one.read_bytes() + other.read_bytes())
    assert read(tmp_path / "both.ts").end_s == pytest.approx(4.0, abs=0.1)
