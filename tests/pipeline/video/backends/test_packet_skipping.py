"""Packets that need not be decoded: the frames that are shown are those of complete decoding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.backends.packet_skipping import flags_unreferenced_frames, has_reliable_times, with_next_times
from pipeline.video.backends.pyav import PyAVSource
from pipeline.video.grid_frames import GridFrames
from pipeline.video.types import DecodeConfig, DecodeReport
from schemas.errors import InputError
from tests.support.inputs.media import make_video

_PYRAMID = {"bf": "3", "g": "30", "x264-params": "b-pyramid=normal"}
_VIDEOS = {
    "pyramid.mp4": {"codec": "libx264", "options": _PYRAMID},
    "pyramid.mkv": {"codec": "libx264", "options": _PYRAMID},
    "open-gop.mp4": {"codec": "libx264", "options": {"bf": "2", "g": "12", "x264-params": "open-gop=1"}},
    "without-b.mp4": {"codec": "libx264", "options": {"bf": "0"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "bframes=4:log-level=none"}},
    "hevc.mkv": {"codec": "libx265", "options": {"x265-params": "bframes=3:log-level=none"}},
    "interlaced.mp4": {"codec": "libx264", "interlaced": True},
    "intra.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "vp9.mkv": {"codec": "libvpx-vp9", "options": {"speed": "8"}},
    "transport.ts": {"codec": "libx264", "options": _PYRAMID},
    "old.avi": {"codec": "libx264", "options": _PYRAMID},
    "variable.mkv": {"codec": "libx264", "options": _PYRAMID, "pts": np.cumsum([1, 2, 1, 7, 1, 30] * 10).tolist()},
    "started.mp4": {"codec": "libx264", "options": _PYRAMID, "start": 100},
}


def _decode(path: Path, fps: float, *, skips: bool) -> tuple[list[bytes], DecodeReport]:
    with PyAVSource(path, size=32, max_pixels=1 << 20) as source:
        if not skips:
            decode_all = source.timed_frames
            source.timed_frames = lambda is_shown=None: decode_all()  # type: ignore[method-assign]
        frames = GridFrames(source, DecodeConfig(size=32, fps=fps), lambda: None)
        return [frame.tobytes() for frame in frames.read()], frames.report()


@pytest.mark.parametrize("name", _VIDEOS)
def test_frames_and_report_equal_those_of_complete_decoding(tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, frames=60, **_VIDEOS[name])  # type: ignore[arg-type]
    for fps in (0.7, 4.0, 10.0, 60.0):
        assert _decode(path, fps, skips=True) == _decode(path, fps, skips=False), fps


@contextmanager
def _packets(path: Path) -> Iterator[Iterator[av.Packet]]:
    with av.open(str(path)) as container:
        yield container.demux(video=0)


@pytest.mark.parametrize("name", ["pyramid.mp4", "intra.mov", "hevc.mp4"])
def test_frames_between_grid_points_are_not_decoded(tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, frames=60, **_VIDEOS[name])  # type: ignore[arg-type]
    with PyAVSource(path, size=32, max_pixels=1 << 20) as source:
        decoded = {id(frame.content): frame.content for frame in source.timed_frames(lambda start, end: False)}
    assert 3 < len(decoded) < 45


@pytest.mark.parametrize("name", ["pyramid.mkv", "hevc.mkv"])
def test_damaged_files_give_as_many_frames_as_complete_decoding(tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, frames=60, **_VIDEOS[name])  # type: ignore[arg-type]
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(10):
        data = np.frombuffer(whole, np.uint8).copy()
        at = rng.integers(len(data) // 2, len(data) * 9 // 10, 10)
        data[at] ^= rng.integers(1, 256, 10, np.uint8)
        path.write_bytes(data.tobytes())
        try:
            complete, _ = _decode(path, 4.0, skips=False)
        except InputError as e:
            with pytest.raises(InputError, match=re.escape(str(e))):
                _decode(path, 4.0, skips=True)
            continue
        skipping = _decode(path, 4.0, skips=True)
        assert len(skipping[0]) == len(complete)
        assert skipping == _decode(path, 4.0, skips=True)


def test_each_packet_has_the_presentation_time_of_the_frame_after_it(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=40, **_VIDEOS["pyramid.mp4"])  # type: ignore[arg-type]
    with _packets(path) as packets:
        given = {p.packet.pts: p.next_pts for p in with_next_times(packets) if p.packet.pts is not None}
    times = sorted(given)
    assert given == dict(zip(times, [*times[1:], None], strict=True))


def test_packets_keep_their_order_and_none_is_lost_where_times_are_missing(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.h264", frames=40, format="h264")
    with _packets(path) as packets:
        expected = [packet.size for packet in packets]
    with _packets(path) as packets:
        given = list(with_next_times(packets))
    assert [p.packet.size for p in given] == expected
    assert {p.next_pts for p in given} == {None}


def test_formats_and_codecs_whose_frames_can_be_skipped() -> None:
    assert has_reliable_times("mov,mp4,m4a,3gp,3g2,mj2")
    assert has_reliable_times("matroska,webm")
    assert not any(has_reliable_times(name) for name in ("avi", "mpegts", "mpeg", "h264"))
    assert flags_unreferenced_frames(av.Codec("h264", "r"))
    assert not flags_unreferenced_frames(av.Codec("vp9", "r"))
