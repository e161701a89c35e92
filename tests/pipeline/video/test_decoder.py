"""Frames, times, reports and descriptions of real files."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import InputError, LongreelError, Reason
from tests.support.inputs.growing_stream import write_growing_stream
from tests.support.inputs.media import make_video, read_number


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=5, batch=4)) as decoder:
        yield decoder


def all_frames(decoder: Decoder, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    batches = list(decoder.frames(path))
    return np.concatenate([frames for frames, _ in batches]), np.concatenate([times for _, times in batches])


def numbers(decoder: Decoder, path: Path) -> list[int]:
    return [read_number(frame) for frame in all_frames(decoder, path)[0]]


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("libx264", "a.mp4"),
        ("libx264", "a.mov"),
        ("libx264", "a.mkv"),
        ("libx264", "a.ts"),
        ("libx264", "a.flv"),
        ("libx264", "a.h264"),
        ("libx264", "a.avi"),
        ("libx265", "a.mp4"),
        ("libvpx-vp9", "a.webm"),
        ("libsvtav1", "a.mp4"),
        ("mpeg4", "a.avi"),
        ("mpeg2video", "a.mpg"),
        ("ffv1", "a.mkv"),
    ],
)
def test_frames_are_on_the_grid_for_every_codec_and_container(
    decoder: Decoder, tmp_path: Path, codec: str, name: str
) -> None:
    path = make_video(tmp_path / name, codec=codec)
    frames, times_s = all_frames(decoder, path)
    assert frames.dtype == np.uint8
    assert frames.shape == (10, 64, 64, 3)
    assert times_s.tolist() == [k / 5 for k in range(10)]
    assert [read_number(frame) for frame in frames] == list(range(0, 50, 5))
    assert decoder.report is not None
    assert (decoder.report.frames, decoder.report.source_frames, decoder.report.detail) == (10, 50, "")
    assert decoder.report.duration_s == pytest.approx(2.0, abs=0.001)


def test_batches_are_full_except_for_the_last(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    assert [len(times) for _, times in decoder.frames(path)] == [4, 4, 2]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_grid_starts_at_the_first_frame_of_a_stream_that_does_not_start_at_zero(
    decoder: Decoder, tmp_path: Path, name: str
) -> None:
    path = make_video(tmp_path / name, start=100)
    assert numbers(decoder, path) == list(range(0, 50, 5))
    assert decoder.report is not None
    assert decoder.report.frames_promised == 10
    info = decoder.probe(path)
    assert info.start_s == pytest.approx(4.0)
    assert info.duration_s == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate_follows_presentation_times(decoder: Decoder, tmp_path: Path, name: str) -> None:
    ticks = [0, 10, 15, 200, 205, 470, 480, 1000, 1100]  # of 1/1000 s
    path = make_video(tmp_path / name, frames=9, pts=ticks, time_base=Fraction(1, 1000), options={"bf": "0"})
    seen = numbers(decoder, path)
    assert seen[:6] == [0, 3, 4, 6, 6, 7]  # at 0, 0.2, 0.4, 0.6, 0.8, 1.0


def test_b_frames_are_in_presentation_order(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", options={"bf": "4", "b-adapt": "0", "g": "25"})
    assert numbers(decoder, path) == list(range(0, 50, 5))


def test_grid_finer_than_the_source_repeats_frames(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=5, rate=5)
    with Decoder(DecodeConfig(size=64, fps=10)) as decoder:
        assert numbers(decoder, path) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_time_continues_in_concatenated_streams(decoder: Decoder, tmp_path: Path) -> None:
    part = make_video(tmp_path / "a.ts", frames=50).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    assert numbers(decoder, tmp_path / "joined.ts") == [*range(0, 50, 5), *range(0, 50, 5)]
    assert decoder.report is not None
    assert decoder.report.discontinuities == 1


def test_change_of_size_in_mid_stream_keeps_the_output_size(decoder: Decoder, tmp_path: Path) -> None:
    small = make_video(tmp_path / "a.ts", size=(96, 64)).read_bytes()
    large = make_video(tmp_path / "b.ts", size=(128, 192), start=52).read_bytes()
    (tmp_path / "joined.ts").write_bytes(small + large)
    assert numbers(decoder, tmp_path / "joined.ts") == [*range(0, 50, 5), *range(0, 50, 5)]


def test_duration_of_a_recording_without_one_is_measured(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "live.webm", codec="libvpx-vp9", container_options={"live": "1"})
    assert decoder.probe(path).duration_s == pytest.approx(2.0, abs=0.05)


def test_probe_describes_a_video(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", rotation=90, sar=Fraction(4, 3), audio_s=2.0, color_range=2)
    info = decoder.probe(path)
    assert (info.codec, info.container.split(",")[0], info.bit_depth) == ("h264", "mov", 8)
    assert (info.coded_width, info.coded_height, info.width, info.height) == (96, 64, 64, 128)
    assert (info.rotation, info.flipped, info.sar) == (270, False, pytest.approx(4 / 3))
    assert (info.frame_rate, info.duration_s) == (25.0, 2.0)
    assert (info.full_range, info.has_audio, info.interlaced, info.is_picture, info.hdr) == (
        True,
        True,
        False,
        False,
        False,
    )


def test_hdr_and_interlacing_are_flagged(decoder: Decoder, tmp_path: Path) -> None:
    hdr = "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc"
    path = make_video(tmp_path / "hdr.mp4", frames=2, pix_fmt="yuv420p10le", options={"x264-params": hdr})
    assert (decoder.probe(path).hdr, decoder.probe(path).interlaced) == (True, False)
    path = make_video(tmp_path / "combed.mp4", frames=2, interlaced=True)
    assert (decoder.probe(path).hdr, decoder.probe(path).interlaced) == (False, True)


def test_ten_bit_video_is_decoded(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", codec="libx265", pix_fmt="yuv420p10le")
    assert decoder.probe(path).bit_depth == 10
    assert numbers(decoder, path) == list(range(0, 50, 5))


@pytest.mark.slow
def test_decoding_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", size=(160, 90))
    runs = []
    for batch in (3, 16):
        with Decoder(DecodeConfig(size=64, fps=5, batch=batch)) as decoder:
            runs.append(all_frames(decoder, path)[0].tobytes())
    assert runs[0] == runs[1]


def test_frames_are_not_overwritten_by_later_batches(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=200)
    kept = [frames for frames, _ in decoder.frames(path)]
    assert [read_number(frame) for frames in kept for frame in frames] == list(range(0, 200, 5))


def test_video_beyond_the_duration_limit_is_rejected(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=2, pts=[0, 10**6], time_base=Fraction(1, 25))
    with Decoder(DecodeConfig(duration_limit_s=3600)) as decoder, pytest.raises(InputError) as e:
        list(decoder.frames(path))
    assert e.value.reason is Reason.TOO_LONG


def test_another_request_ends_a_running_iterator(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=200)
    running = decoder.frames(path)
    next(running)
    assert decoder.probe(path).duration_s == 8.0
    with pytest.raises(LongreelError, match="another request"):
        next(running)
    assert numbers(decoder, path) == list(range(0, 200, 5))


def test_report_is_set_at_the_end_only(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=200)
    frames = decoder.frames(path)
    next(frames)
    assert decoder.report is None
    frames.close()
    assert decoder.report is None


def test_decoder_cannot_be_pickled(decoder: Decoder) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(decoder)


def test_importing_the_decoder_loads_no_decoder_library() -> None:
    code = "import sys, json, pipeline.video.decoder; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(printed)}
    assert not loaded & {"av", "decord", "PIL", "cv2", "scenedetect", "torch"}


@pytest.mark.slow
def test_a_stream_that_appears_later_makes_one_file_unreadable_and_the_decoder_goes_on(tmp_path: Path) -> None:
    """PyAV raises an IndexError for packets of a stream that was not there when the file was opened."""
    path, good = write_growing_stream(tmp_path / "a.ts"), make_video(tmp_path / "b.mp4", frames=8)
    with Decoder(DecodeConfig()) as decoder:
        for read in (decoder.analyze, lambda path: list(decoder.frames(path))):
            with pytest.raises(InputError, match="IndexError: list index out of range") as e:
                read(path)
            assert (e.value.reason, "Traceback" in str(e.value)) == (Reason.UNREADABLE, False)
        assert decoder.analyze(good).measures
