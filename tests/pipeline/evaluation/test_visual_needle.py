"""A picture of a shape is found at its place in the video, and the right option names it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.visual_needle import (
    COLORS,
    SHAPES,
    VisualNeedleConfig,
    draw_shape,
    read_frames,
    visual_needle_samples,
)
from pipeline.language_models.chat import Media
from schemas.errors import ConfigError
from tests.support.inputs.media import make_video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("visual") / "a.mp4", frames=12, rate=1)


def test_all_shapes_differ() -> None:
    pictures = [draw_shape(color, shape) for color, shape in itertools.product(COLORS, SHAPES)]
    for one, other in itertools.combinations(pictures, 2):
        assert (np.abs(one.astype(int) - other).max(-1) > 60).mean() > 0.02


def test_the_right_option_describes_the_picture_at_its_depth(video: Path, tmp_path: Path) -> None:
    config = VisualNeedleConfig(frames=(9,), depths=3, rounds=1)
    samples = list(visual_needle_samples(config, video, tmp_path / "videos"))
    assert [sample.depth for sample in samples] == [0, 0.5, 1]
    source = read_frames(video, 8)
    for sample, at in zip(samples, (0, 4, 8), strict=True):
        media, text = sample.request.messages[0].parts
        assert isinstance(media, Media)
        assert isinstance(text, str)
        frames = read_frames(media.path, 9)
        (line,) = [line for line in text.splitlines() if line.startswith(f"{sample.references[0]}. a ")]
        color, shape = line.removeprefix(f"{sample.references[0]}. a ").split()
        assert np.abs(frames[at].astype(int) - draw_shape(color, shape)).mean() < 4
        others = np.delete(frames, at, axis=0).astype(int)
        assert np.abs(others - source).mean() < 8


def test_videos_are_written_once_and_alike(video: Path, tmp_path: Path) -> None:
    config = VisualNeedleConfig(frames=(4,), depths=2, rounds=1)
    first = [sample.request.digest() for sample in visual_needle_samples(config, video, tmp_path / "a")]
    again = [sample.request.digest() for sample in visual_needle_samples(config, video, tmp_path / "a")]
    other = [sample.request.digest() for sample in visual_needle_samples(config, video, tmp_path / "b")]
    assert first == again == other


def test_a_short_video_and_a_wrong_configuration_raise(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 12 seconds; videos of 50 frames need 49"):
        list(visual_needle_samples(VisualNeedleConfig(frames=(50,)), video, tmp_path))
    with pytest.raises(ConfigError, match="at least 2"):
        VisualNeedleConfig(frames=(1,))
