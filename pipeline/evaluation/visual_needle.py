"""A picture among the frames of a long video, and a question about it (a needle of V-NIAH's kind, arXiv 2406.16852).

The needle is a colored shape on a plain background, drawn here, so nothing has to be downloaded; the question has four
options that differ in shape and color. The video has one frame per second of the given video, and is a file of its own.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.evaluation.files.video_choices import choice_sample
from pipeline.evaluation.sample import Sample
from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.writing import write_video
from schemas.counted import counted
from schemas.errors import ConfigError

SHAPES = ("circle", "square", "triangle", "cross")
COLORS = {
    "red": (220, 30, 30),
    "blue": (30, 60, 220),
    "green": (20, 150, 60),
    "yellow": (240, 210, 20),
    "purple": (140, 40, 170),
    "orange": (240, 130, 20),
}
_QUESTION = "One picture in this video shows a colored shape that has nothing to do with the rest. What does it show?"
_SIZE, _OPTIONS = 256, 4


@dataclass(frozen=True, kw_only=True)
class VisualNeedleConfig:
    """How long the videos are, and where the picture is put."""

    frames: tuple[int, ...] = (16, 64)
    """Frames of the videos, of which one is the picture."""
    depths: int = 5
    """Number of depths from 0 % to 100 % at which the picture is put."""
    rounds: int = 2
    """Samples for each number of frames and depth."""
    seed: int = 0
    """Random seed of shapes, colors and options."""

    def __post_init__(self) -> None:
        if not self.frames or min(self.frames) < 2 or self.depths < 1 or self.rounds < 1:
            raise ConfigError("frames must be at least 2, depths and rounds at least 1")


def visual_needle_samples(config: VisualNeedleConfig, video: Path, folder: Path) -> Iterator[Sample]:
    """Yield the samples, and write their videos to `folder`. Raises InputError or ConfigError for the video."""
    folder.mkdir(parents=True, exist_ok=True)
    source = read_frames(video, max(config.frames) - 1)
    for count, at, number in itertools.product(config.frames, range(config.depths), range(config.rounds)):
        depth = 0.5 if config.depths == 1 else at / (config.depths - 1)
        rng = random.Random(f"{config.seed}/{count}/{depth:.4f}/{number}")
        shown = [(color, shape) for color in COLORS for shape in SHAPES]
        options = rng.sample(shown, _OPTIONS)
        right = rng.randrange(_OPTIONS)
        path = folder / f"{count}-{depth:.4f}-{number}.mp4"
        if not path.exists():
            frames = list(source[: count - 1])
            frames.insert(round(depth * (count - 1)), draw_shape(*options[right]))
            write_video(path, frames, rate=1.0, only_key_frames=True)
        names = [f"a {color} {shape}" for color, shape in options]
        task = counted(count, "frame")
        yield choice_sample(f"{count}/{depth:.4f}/{number}", task, path, _QUESTION, names, right, depth=depth)


def read_frames(video: Path, count: int) -> NDArray[np.uint8]:
    """Return `count` frames [count, 256, 256, 3] of a video, one a second. Raises ConfigError if it is shorter."""
    found: list[NDArray[np.uint8]] = []
    with Decoder(DecodeConfig(fps=1.0, size=_SIZE)) as decoder:
        for frames, _ in decoder.frames(video):
            found += list(frames)
            if len(found) >= count:
                break
    if len(found) < count:
        raise ConfigError(f"{video} has {counted(len(found), 'second')}; videos of {count + 1} frames need {count}")
    return np.stack(found[:count])


def draw_shape(color: str, shape: str) -> NDArray[np.uint8]:
    """Return a picture [256, 256, 3] of a colored shape on light gray."""
    image = Image.new("RGB", (_SIZE, _SIZE), (235, 235, 235))
    draw, ink, low, high, middle = ImageDraw.Draw(image), COLORS[color], 56, 200, 128
    match shape:
        case "circle":
            draw.ellipse((low, low, high, high), ink)
        case "square":
            draw.rectangle((low, low, high, high), ink)
        case "triangle":
            draw.polygon([(middle, low), (high, high), (low, high)], ink)
        case "cross":
            draw.rectangle((middle - 24, low, middle + 24, high), ink)
            draw.rectangle((low, middle - 24, high, middle + 24), ink)
    return np.asarray(image)
