"""Shot starts in videos whose transitions are known."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.video.decoder import DecodeConfig, Decoder, DecodeReport
from pipeline.video.shots.content import ContentDetector
from pipeline.video.shots.detector import shots_fingerprint_fields
from tests.support.golden import check_golden
from tests.support.inputs.scenes import film, make_film, scene


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=32, fps=5)) as decoder:
        yield decoder


def report_of(decoder: Decoder, path: Path) -> DecodeReport:
    for _ in decoder.frames(path, shots="content"):
        pass
    assert decoder.report is not None
    return decoder.report


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_cuts_are_found_to_the_frame(backend: Any, tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", film((0, 1, 1, 37), (1, 1, 1, 50), (2, 1, 1, 26)))
    with Decoder(DecodeConfig(size=32, fps=5, backend=backend)) as decoder:
        report = report_of(decoder, path)
    assert list(report.shots) == pytest.approx([0, 37 / 25, 87 / 25])
    # On the grid of 0.2 s the second shot is first shown at 1.6 s, the third at 3.6 s.
    assert list(report.shot_frames) == [0, 8, 18]


def test_first_grid_frame_of_a_shot_shows_that_shot(decoder: Decoder, tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", film((0, 1, 1, 35), (1, 1, 1, 45), (2, 1, 1, 30)), options={"crf": "5"})
    frames = np.concatenate([frames for frames, _ in decoder.frames(path, shots="content")]).astype(int)
    assert decoder.report is not None
    steps = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    assert [int(i) + 1 for i in np.flatnonzero(steps > 20)] == list(decoder.report.shot_frames)[1:]


@pytest.mark.parametrize("black", [0, 3, 40])
def test_fade_through_black_is_one_start_inside_it(black: int, decoder: Decoder, tmp_path: Path) -> None:
    parts = [(0, 1, 1, 40), (0, 1, 0, 15), (-1, 0, 0, black), (1, 0, 1, 15), (1, 1, 1, 40)]
    _, start = report_of(decoder, make_film(tmp_path / "a.mp4", film(*parts))).shots
    assert 52 / 25 <= start <= (58 + black) / 25


def test_dissolve_is_one_start_inside_it(decoder: Decoder, tmp_path: Path) -> None:
    one, other = film((0, 1, 1, 60)), film((1, 1, 1, 60))
    mixed = [(a * (1 - w) + b * w).astype(np.uint8) for a, b, w in zip(one, other, np.linspace(0, 1, 20), strict=False)]
    _, start = report_of(decoder, make_film(tmp_path / "a.mp4", [*one[:40], *mixed, *other[20:]])).shots
    assert 40 / 25 <= start <= 60 / 25


def test_dark_start_and_end_are_not_shots(decoder: Decoder, tmp_path: Path) -> None:
    parts = [(-1, 0, 0, 50), (0, 0, 1, 15), (0, 1, 1, 30), (0, 1, 0, 15), (-1, 0, 0, 50)]
    assert list(report_of(decoder, make_film(tmp_path / "a.mp4", film(*parts))).shots) == [0]


def test_shots_are_at_least_600_ms_long(decoder: Decoder, tmp_path: Path) -> None:
    parts = [(0, 1, 1, 30), (1, 1, 1, 8), (2, 1, 1, 40)]
    assert list(report_of(decoder, make_film(tmp_path / "a.mp4", film(*parts))).shots) == pytest.approx([0, 1.2])


def test_times_count_from_the_first_frame(decoder: Decoder, tmp_path: Path) -> None:
    lasts = [2, 3] * 30  # ticks of 1/50 s: a variable frame rate
    pts = np.cumsum([0, *lasts]).tolist()[:60]
    path = make_film(
        tmp_path / "a.mkv", film((0, 1, 1, 33), (1, 1, 1, 27)), pts=pts, time_base=Fraction(1, 50), start=500
    )
    assert list(report_of(decoder, path).shots) == pytest.approx([0, pts[33] / 50])


def test_high_frame_rates_are_subsampled() -> None:
    detector = ContentDetector()
    one, other = (np.ascontiguousarray(scene(n, 0)[::2, ::2]).astype(np.uint8) for n in (0, 1))
    for i in range(240):  # 60 a second, of which every other one is of another scene
        detector.add(other if i % 2 else one, i / 60)
    assert detector.starts() == [0]


def test_memory_does_not_grow_with_the_video() -> None:
    detector, rng = ContentDetector(), np.random.default_rng(0)
    noise = rng.integers(0, 255, (8, 36, 64, 3), np.uint8)

    def watch(first: int, end: int) -> int:
        for i in range(first, end):
            detector.add(noise[rng.integers(8)] if i % 5 else noise[0], i / 25)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = watch(0, 200)
        assert watch(200, 700) - before < 20_000  # 500 frames of noise are 3 MB
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_shot_starts_change_only_with_the_version() -> None:
    detector = ContentDetector()
    parts = [(0, 1, 1, 40), (1, 1, 1, 30), (1, 1, 0, 15), (-1, 0, 0, 10), (2, 0, 1, 15), (2, 1, 1, 20), (3, 1, 1, 9)]
    for number, pixels in enumerate(film(*parts)):
        detector.add(np.ascontiguousarray(pixels[::2, ::2]), number / 25)
    check_golden("shot_starts", shots_fingerprint_fields("content"), detector.starts())
