"""The PyAV source: streams, times, damage and memory, without a decoder process."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.video.backends.pyav import PyAVSource, orientation
from schemas.errors import InputError, Reason
from tests.support.inputs.media import make_video, read_number


def test_frames_have_their_presentation_times_and_durations(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=5, start=100)
    with PyAVSource(path, size=64, max_pixels=1 << 20) as source:
        frames = [(f.time_s, f.duration_s, read_number(source.render(f.content))) for f in source.timed_frames()]
    assert frames == [(pytest.approx(4 + n / 25), pytest.approx(1 / 25), n) for n in range(5)]


def test_attributes_describe_the_stream(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=5, rate=10, sar=Fraction(4, 3))
    with PyAVSource(path, size=64, max_pixels=1 << 20) as source:
        assert source.tick_s == pytest.approx(0.001)
        assert source.default_duration_s == pytest.approx(0.1)
        assert source.sar == Fraction(4, 3)
        assert not source.allows_jumps
        assert not source.guesses_bt709
    with PyAVSource(make_video(tmp_path / "a.ts", frames=5), size=64, max_pixels=1 << 20) as source:
        assert source.allows_jumps


def test_thumbnails_have_the_requested_size_and_are_not_rotated(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=2, size=(96, 64), rotation=90)
    with PyAVSource(path, size=64, max_pixels=1 << 20) as source:
        frame = next(source.timed_frames()).content
        assert source.thumbnail(frame, (48, 27)).shape == (27, 48, 3)
        assert source.oriented_frame(frame)[1].turns == 1


def test_video_without_a_decodable_frame_is_rejected(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=3, options={"g": "1"})
    data = bytearray(path.read_bytes())
    start = data.find(b"\x1f\x43\xb6\x75")  # the first cluster, which holds the packets
    data[start + 60 :] = bytes(len(data) - start - 60)
    path.write_bytes(data)
    with pytest.raises(InputError, match="no frame could be decoded") as e:
        PyAVSource(path, size=64, max_pixels=1 << 20)
    assert e.value.reason is Reason.UNREADABLE


@pytest.mark.slow
def test_reading_the_orientation_does_not_keep_the_frame_alive(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=30, rotation=90)

    def alive() -> int:
        return sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                assert orientation(frame).turns == 1
        assert alive() - before < 5
    finally:
        gc.enable()
