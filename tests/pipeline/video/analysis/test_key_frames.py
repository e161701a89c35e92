"""Key frames and bursts of real streams: which frames are sampled, and with which times."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.video.analysis.frame_schedule import DENSE_S
from pipeline.video.analysis.key_frames import KeyFrameSampler
from pipeline.video.analysis.packets import PacketReader
from pipeline.video.analysis.summary import FrameSummary
from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.backends.opening import open_for_analysis
from pipeline.video.types import DecodeConfig
from tests.support.inputs.media import make_video

pytestmark = pytest.mark.slow

RATE = 10


def sampled(path: Path, *, bursts_from_s: float = 0.0) -> VideoStats:
    with open_for_analysis(path, size=256, max_pixels=1 << 24) as source:
        info, allows_jumps = source.info, source.allows_jumps
    with av.open(str(path)) as container, FrameSummary(info, AnalysisConfig()) as summary:
        stream = container.streams.video[0]
        packets = PacketReader(container, stream, allows_jumps=allows_jumps)
        sampler = KeyFrameSampler(stream.codec_context, summary, bursts_from_s=bursts_from_s)
        for packet, time_s in packets.read():
            sampler.add(packet, time_s)
        sampler.finish()
        return summary.stats(packets.end_s)


def write(path: Path, seconds: float, key_frame_s: float, **options: str) -> Path:
    options = {"g": str(round(key_frame_s * RATE)), "sc_threshold": "0", "preset": "ultrafast", **options}
    return make_video(path, frames=round(seconds * RATE), rate=RATE, size=(64, 64), options=options)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("b_frames", ["0", "3"])
def test_a_burst_starts_at_a_key_frame_and_ends_at_a_fixed_time(tmp_path: Path, name: str, b_frames: str) -> None:
    times_s = sampled(write(tmp_path / name, 62, 8, bf=b_frames)).times_s
    key_frames = [t for t in times_s if abs(t % 8) < 0.05 or abs(t % 8 - 8) < 0.05]
    assert key_frames == pytest.approx(np.arange(0, 62, 8), abs=0.05)
    bursts = [t for t in times_s if t not in key_frames]
    expected = [*np.arange(24.5, 27.1, DENSE_S), *np.arange(56.5, 58.1, DENSE_S)]
    assert [s for s in bursts if s > 1] == pytest.approx(expected, abs=0.35)  # not every frame is decoded


def test_sampled_frames_have_the_times_at_which_they_are_shown(tmp_path: Path) -> None:
    def picture(i: int) -> NDArray[np.uint8]:
        shown = np.full((64, 64, 3), 40, np.uint8)
        shown[:, : 4 * (i % 16)] = 220
        return shown

    options = {"g": "70", "sc_threshold": "0", "preset": "ultrafast", "bf": "3"}
    stats = sampled(
        make_video(tmp_path / "a.mkv", frames=300, rate=RATE, size=(64, 64), picture=picture, options=options)
    )
    assert len(stats.times_s) == 5 + 12
    for time_s, signature in zip(stats.times_s, stats.signatures, strict=True):
        bright = np.frombuffer(signature, np.uint8).reshape(16, 16)[8] > 130
        assert bright.sum() == round(time_s * RATE) % 16


def test_where_key_frames_are_far_apart_the_half_second_after_the_next_one_is_sampled(tmp_path: Path) -> None:
    times_s = sampled(write(tmp_path / "a.mp4", 62, 24, bf="0")).times_s
    assert times_s == pytest.approx([0, 0.5, *np.arange(24, 27.1, 0.5), 48, 48.5][: len(times_s)], abs=0.1)
    late = sampled(write(tmp_path / "b.mp4", 62, 17, bf="0")).times_s
    assert late == pytest.approx([0, 0.5, 17, 34, 34.5, *np.arange(51, 58.1, 0.5)], abs=0.1)


def test_every_frame_may_be_a_key_frame(tmp_path: Path) -> None:
    times_s = sampled(write(tmp_path / "a.mp4", 40, 0.1)).times_s
    assert times_s == pytest.approx([0, 0.5, *np.arange(2, 27, 2), 27, 27.5, *np.arange(28, 41, 2)], abs=0.11)


def test_no_burst_begins_before_a_video_is_known_to_be_long(tmp_path: Path) -> None:
    times_s = sampled(write(tmp_path / "a.mp4", 62, 8, bf="0"), bursts_from_s=40.0).times_s
    assert times_s == pytest.approx([0, 0.5, 8, 16, 24, 32, 32.5, 40, 48, 56, *np.arange(56.5, 58.1, 0.5)], abs=0.1)


def test_damaged_packets_cost_their_frames_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", 40, 8, bf="0")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    assert len(sampled(path).times_s) > 4


def test_the_decoder_decodes_every_frame_again_after_a_burst(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 30, 8)
    with open_for_analysis(path, size=256, max_pixels=DecodeConfig().max_pixels) as source:
        info = source.info
    with av.open(str(path)) as container, FrameSummary(info, AnalysisConfig()) as summary:
        stream = container.streams.video[0]
        sampler = KeyFrameSampler(stream.codec_context, summary, bursts_from_s=0.0)
        for packet, time_s in PacketReader(container, stream, allows_jumps=False).read():
            sampler.add(packet, time_s)
        sampler.finish()
        assert stream.codec_context.skip_frame == "DEFAULT"
