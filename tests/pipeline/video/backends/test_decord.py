"""The decord backend: the same frames as PyAV, or a clear rejection."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import InputError, Reason
from tests.support.inputs.media import flat_yuv, make_audio, make_video, numbered, quadrants, read_number
from tests.support.inputs.transparent import make_transparent

pytest.importorskip("decord", reason="decord has wheels for x86_64 only")

SIZE = (192, 128)


@pytest.fixture(scope="module")
def pyav() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=5)) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def other() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=5, backend="decord")) as decoder:
        yield decoder


def textured(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a numbered picture with color and detail."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    waves = np.stack([np.sin(x / 9 + number / 5), np.sin(y / 7), np.sin((x + y) / 11)], axis=2) * 30
    return (numbered(number, SIZE) + waves).clip(0, 255).astype(np.uint8)


def assert_same(pyav: Decoder, other: Decoder, path: Path) -> list[int]:
    """Compare frames, times and reports of both; return the numbers in the frames."""
    numbers: list[int] = []
    for (expected, times), (found, found_times) in zip(pyav.frames(path), other.frames(path), strict=True):
        assert found_times.tolist() == times.tolist()
        assert np.abs(found.astype(int) - expected.astype(int)).mean() < 2
        numbers += [read_number(frame) for frame in found]
    assert pyav.report is not None
    assert other.report is not None
    assert other.report.frames_promised == pyav.report.frames_promised
    assert other.report.duration_s == pytest.approx(pyav.report.duration_s, abs=1e-3)
    return numbers


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", {}),
        ("a.mov", {"codec": "libx265"}),
        ("a.mkv", {}),
        ("a.webm", {"codec": "libvpx-vp9"}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.mp4", {"options": {"bf": "4", "g": "25"}}),
        ("a.mp4", {"start": 100}),
        ("a.mkv", {"start": 100}),
        ("a.mp4", {"pix_fmt": "yuv420p10le"}),
        ("a.mp4", {"color_range": 2, "colorspace": 1}),
        ("a.mp4", {"interlaced": True}),
        ("a.mp4", {"sar": Fraction(4, 3)}),
        ("a.mkv", {"sar": Fraction(3, 4)}),
    ],
)
def test_both_backends_give_the_same_frames(
    pyav: Decoder, other: Decoder, tmp_path: Path, name: str, kind: dict[str, Any]
) -> None:
    path = make_video(tmp_path / name, size=SIZE, picture=textured, **kind)
    assert assert_same(pyav, other, path) == list(range(0, 50, 5))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_both_backends_follow_a_variable_frame_rate(pyav: Decoder, other: Decoder, tmp_path: Path, name: str) -> None:
    ticks = [0, 10, 15, 200, 205, 470, 480, 1000, 1100]
    path = make_video(
        tmp_path / name,
        size=SIZE,
        picture=textured,
        frames=9,
        pts=ticks,
        time_base=Fraction(1, 1000),
        options={"bf": "0"},
    )
    assert assert_same(pyav, other, path)[:6] == [0, 3, 4, 6, 6, 7]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_both_backends_rotate_pictures_and_their_pixel_aspect_ratio(
    pyav: Decoder, other: Decoder, tmp_path: Path, name: str, rotation: int
) -> None:
    path = make_video(
        tmp_path / name, size=SIZE, rotation=rotation, sar=Fraction(5, 4), picture=lambda i: quadrants(SIZE), frames=5
    )
    assert_same(pyav, other, path)


def test_both_backends_assume_bt709_for_untagged_hd(pyav: Decoder, other: Decoder, tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "a.mp4",
        size=(1280, 720),
        frames=2,
        picture=lambda i: flat_yuv((110, 100, 170), (1280, 720), "yuv420p"),
    )
    expected, found = (next(iter(decoder.frames(path)))[0][0].astype(int) for decoder in (pyav, other))
    assert np.abs(expected - found).max() <= 3


def test_pictures_probes_and_subtitles_do_not_depend_on_the_backend(
    pyav: Decoder, other: Decoder, tmp_path: Path
) -> None:
    Image.fromarray(numbered(9, (64, 64))).save(tmp_path / "a.png")
    assert assert_same(pyav, other, tmp_path / "a.png") == [9]
    path = make_video(tmp_path / "a.mkv", subtitles=[(0.2, 0.5, "words")])
    assert other.probe(path) == pyav.probe(path)
    assert other.subtitles(path) == pyav.subtitles(path)
    assert other.analyze(path).signatures == pyav.analyze(path).signatures


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", {"codec": "libsvtav1"}),
        ("a.ts", {}),
        ("a.mp4", {"flip": True, "rotation": 90}),
        ("a.mpg", {"codec": "mpeg2video"}),
    ],
)
def test_files_that_decord_reads_incorrectly_are_rejected_with_advice(
    other: Decoder, tmp_path: Path, name: str, kind: dict[str, Any]
) -> None:
    path = make_video(tmp_path / name, size=SIZE, picture=textured, **kind)
    with pytest.raises(InputError, match="use backend=pyav") as e:
        list(other.frames(path))
    assert e.value.reason is Reason.UNREADABLE


def test_files_in_which_decord_would_replace_frames_are_rejected(other: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", size=SIZE, picture=textured, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(InputError, match="use backend=pyav"):
        list(other.frames(path))


def test_errors_have_the_same_reasons_as_with_pyav(other: Decoder, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "words.mp4").write_bytes(b"words " * 99)
    cases = {
        tmp_path / "no.mp4": Reason.MISSING,
        tmp_path / "empty.mp4": Reason.EMPTY,
        tmp_path / "words.mp4": Reason.UNREADABLE,
        make_audio(tmp_path / "a.m4a"): Reason.NO_VIDEO,
    }
    for path, reason in cases.items():
        with pytest.raises(InputError) as e:
            list(other.frames(path))
        assert e.value.reason is reason


@pytest.mark.slow
def test_transparent_videos_are_rejected(pyav: Decoder, other: Decoder, tmp_path: Path) -> None:
    path = make_transparent(tmp_path / "a.mov", "qtrle", "argb")
    assert sum(len(times) for _, times in pyav.frames(path)) == 3
    with pytest.raises(InputError, match="decord ignores the alpha channel; use backend=pyav"):
        list(other.frames(path))
