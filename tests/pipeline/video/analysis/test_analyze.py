"""Statistics of real files: sampled frames, content hashes, truncation."""

from __future__ import annotations

import resource
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from pipeline.filters.limit_table import DEFAULTS
from pipeline.video.analysis.frame_signature import VERSION
from pipeline.video.decoder import AnalysisConfig, DecodeConfig, Decoder, VideoStats
from schemas.errors import InputError, Reason, StorageError
from tests.pipeline.video.analysis.test_packets import remux
from tests.support.golden import check_golden
from tests.support.inputs.media import make_video, numbered, read_number
from tests.support.inputs.moving_video import LONG, moving, video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig()) as decoder:
        yield decoder


def numbers(stats: VideoStats) -> list[int]:
    """Return the numbers of the thumbnail frames."""
    height, width = stats.frames.shape[1:3]
    side, top, left = min(height, width), max(0, height - width) // 2, max(0, width - height) // 2
    return [read_number(f[top : top + side, left : left + side]) for f in stats.frames]


def test_short_video_is_sampled_four_times_a_second(decoder: Decoder, tmp_path: Path) -> None:
    stats = decoder.analyze(make_video(tmp_path / "a.mp4", frames=75, start=20), AnalysisConfig(frames=True))
    assert stats.times_s == pytest.approx(np.arange(0, 3, 0.25), abs=0.03)
    assert stats.durations_s.sum() == pytest.approx(3)
    assert numbers(stats) == pytest.approx(
        [6, 25, 38, 56, 69], abs=1
    )  # those that follow the middles of five parts of the video
    assert stats.measures["sampled_frames"] == len(stats.signatures) == 12
    assert stats.measures["found_share"] == pytest.approx(1, abs=0.001)
    assert stats.measures.keys() <= DEFAULTS.keys()  # which has their descriptions


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_long_video_is_sampled_at_key_frames(decoder: Decoder, tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, frames=640, rate=10, options=LONG)
    stats = decoder.analyze(path, AnalysisConfig(frames=True))
    assert [s for s in stats.times_s if s % 3 < 0.1 or s % 3 > 2.9] == pytest.approx(range(0, 64, 3), abs=0.1)
    bursts = [s for s in stats.times_s if 0.1 < s % 3 < 2.9]
    assert bursts == pytest.approx([0.5, 27.5, 57.5, 58], abs=0.3)
    assert numbers(stats) == pytest.approx([90, 210, 330, 450, 570], abs=31)
    assert stats.durations_s.sum() == pytest.approx(64, abs=0.1)
    short = decoder.analyze(path, AnalysisConfig(decode_below_s=100))  # 22 key frames are enough, without bursts
    assert [s for s in short.times_s if 0.1 < s % 3 < 2.9] == pytest.approx([0.5, 27.5, 60.5], abs=0.16)
    assert short.frames.shape == (0, 256, 384, 3)


def test_frequent_key_frames_are_skipped(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=400, rate=10, options={"g": "3", "bf": "0"})
    gaps = np.diff([s for s in decoder.analyze(path).times_s if not 0.4 < s < 0.8 and not 26.7 < s < 28])
    assert gaps.min() > 1.7
    assert gaps.max() < 2.3


def test_long_video_with_one_key_frame_is_decoded_completely(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=100 * 5, rate=5, options={"g": "9999", "sc_threshold": "0"})
    stats = decoder.analyze(path)
    assert stats.measures["sampled_frames"] == pytest.approx(50 + 2 * 12, abs=1)  # with two bursts
    assert np.diff(stats.times_s).max() < 2.3


def test_duration_that_the_header_understates_is_that_of_the_packets(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.flv", frames=100)
    content = bytearray(path.read_bytes())
    at = content.index(b"duration") + 9
    content[at : at + 8] = struct.pack(">d", 0.4)
    path.write_bytes(content)
    stats = decoder.analyze(path)
    assert (stats.info.duration_s, stats.measures["found_share"]) == (pytest.approx(4), 1)


def test_duration_is_that_of_the_part_that_an_edit_list_shows(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=100)
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    content[at : at + 4] = struct.pack(">I", 400)  # of 4000
    path.write_bytes(content)
    assert decoder.analyze(path).info.duration_s == pytest.approx(0.4)


def test_same_file_gives_the_same_stats_and_a_remux_the_same_signatures(decoder: Decoder, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", moving(4))
    one, other = decoder.analyze(path), decoder.analyze(path)
    assert (one.signatures, one.measures, one.thumbnail) == (other.signatures, other.measures, other.thumbnail)
    again = decoder.analyze(remux(path, tmp_path / "a.mkv"))
    assert (again.content_id, again.signatures, again.crop) == (one.content_id, one.signatures, one.crop)
    assert decoder.analyze(video(tmp_path / "b.mp4", moving(8))).content_id != one.content_id


def test_truncated_video_has_a_lower_found_share(decoder: Decoder, tmp_path: Path) -> None:
    whole = video(tmp_path / "a.mkv", moving(4), 100)
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    stats = decoder.analyze(tmp_path / "cut.mkv")
    assert 0.1 < stats.measures["found_share"] < 0.9
    assert stats.measures["found_share"] == pytest.approx(stats.durations_s.sum() / 4, abs=0.03)
    other = decoder.analyze(whole)
    assert other.measures["found_share"] == 1
    assert other.measures["bit_rate"] == pytest.approx(8 * len(data) / 4, rel=0.05)
    assert stats.content_id != other.content_id


def test_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=350, rate=10, options={"g": "999", "sc_threshold": "0"})
    others = set(psutil.Process().children())
    with Decoder(DecodeConfig()) as decoder:
        before = decoder.analyze(path)
        (child,) = set(psutil.Process().children()) - others
        limits = resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        with pytest.raises(StorageError, match="cannot write"):
            decoder.analyze(path)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, limits)
        assert decoder.analyze(path).signatures == before.signatures


def test_picture_has_one_sampled_frame_and_an_animation_all_of_them(decoder: Decoder, tmp_path: Path) -> None:
    Image.fromarray(moving(1)(0)).save(tmp_path / "a.png")
    still = decoder.analyze(tmp_path / "a.png")
    assert (still.content_id, still.times_s.tolist(), still.durations_s.tolist(), len(still.signatures)) == (
        None,
        [0],
        [1],
        1,
    )
    assert set(still.measures) == {
        "brightness",
        "sharpness",
        "blockiness",
        "combing",
        "picture_share",
        "sampled_frames",
    }
    frames = [Image.fromarray(numbered(n, (64, 64))) for n in (1, 2, 4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[1000, 700, 600])
    moves = decoder.analyze(tmp_path / "a.gif", AnalysisConfig(frames=True))
    assert moves.times_s.tolist() == pytest.approx([0, 1, 1.7])
    assert numbers(moves)[-1] == 4
    assert moves.measures["frozen_share"] == 0


def test_timestamps_beyond_the_duration_limit_are_rejected(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", pts=[0, 1, 2, 60_000], rate=25, time_base=Fraction(1), frames=4)
    with Decoder(DecodeConfig()) as decoder, pytest.raises(InputError, match="duration_limit_s") as e:
        decoder.analyze(path)
    assert e.value.reason is Reason.TOO_LONG


def test_statistics_change_only_with_the_version(tmp_path: Path, decoder: Decoder) -> None:
    path = video(tmp_path / "a.mkv", moving(3), 60, codec="ffv1", pix_fmt="bgr0")  # lossless: independent of an encoder
    stats = decoder.analyze(path)
    output = {
        "crop": stats.crop,
        "times_s": stats.times_s.tolist(),
        "durations_s": stats.durations_s.tolist(),
        "signatures": [signature.hex() for signature in stats.signatures],
        "measures": {name: value for name, value in stats.measures.items() if name != "bit_rate"},
    }
    check_golden("video_statistics", VERSION, output)
