"""Videos to learn from, made of a few: variants of them, and slide shows of pictures cut from them.

A variant is a crop of a video, mirrored or not, faster or slower, with another brightness and color. A slide is a
picture with permuted channels, inverted, turned or mixed with another, that stands still or moves evenly for 1.5 s. All
have 8 frames per second of 128 x 128 pixels and are written as H.264 with little loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SIZE, RATE = 128, 8
SLIDE_FRAMES = 12
_SLIDE_SIZE = 192  # of the picture that a slide shows a part of
_MOST_SPEED = 4.0  # pixels per frame
_FRAMES = 12  # of a video, one a second, that pictures are cut from


@dataclass(frozen=True)
class Variant:
    """How a variant differs from the video."""

    side: float = 1.0  # of the crop, as a share of the short side of a frame
    speed: float = 1.0
    is_mirrored: bool = False


# The first two show the square that `longreel run` cuts out of a frame.
VARIANTS = (
    Variant(),
    Variant(is_mirrored=True),
    Variant(side=0.8),
    Variant(side=0.65, speed=0.6, is_mirrored=True),
    Variant(side=0.9, speed=1.4),
    Variant(side=0.7, is_mirrored=True),
)


def write_variants(video: Path, out: Path, variants: Iterable[Variant] = VARIANTS) -> Iterator[Path]:
    """Write the variants of a video to a folder and yield their paths."""
    for number, variant in enumerate(variants):
        path = out / f"{video.stem}-{number}.mp4"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:8]))
        is_whole = variant.side == 1
        place = (0.5, 0.5) if is_whole else tuple(rng.random(2))
        gain = np.ones(3) if is_whole else rng.uniform(0.85, 1.15, 3)
        frames = (_cut(frame, variant, place) * gain for frame in _frames_at(video, variant.speed / RATE))
        _write(path, frames)
        yield path


def write_slides(videos: Iterable[Path], path: Path, count: int, rng: np.random.Generator) -> None:
    """Write a slide show of `count` pictures."""
    pictures = [picture for video in videos for picture in _pictures(video)]
    _write(path, (frame for _ in range(count) for frame in _slide(pictures, rng)))


def _slide(pictures: list[NDArray[np.uint8]], rng: np.random.Generator) -> Iterator[NDArray[Any]]:
    shown = _picture(pictures, rng)
    if rng.random() < 0.5:
        share = rng.random()
        shown = share * shown + (1 - share) * _picture(pictures, rng)
    speed = rng.uniform(-_MOST_SPEED, _MOST_SPEED, 2) if rng.random() < 0.5 else np.zeros(2)
    room = _SLIDE_SIZE - SIZE
    for number in range(SLIDE_FRAMES):
        top, left = np.clip(np.round(room / 2 + speed * (number - SLIDE_FRAMES / 2)), 0, room).astype(int)
        yield shown[top : top + SIZE, left : left + SIZE]


def _picture(pictures: list[NDArray[np.uint8]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a square of a picture [192, 192, 3], turned, with other colors."""
    picture = pictures[rng.integers(len(pictures))]
    side = int(rng.integers(140, 257) if rng.random() < 0.5 else rng.integers(40, 140))
    top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
    part = np.rot90(picture[top : top + side, left : left + side], rng.integers(4))
    part = part[:, ::-1] if rng.random() < 0.5 else part
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(part[..., rng.permutation(3)]), format="rgb24")
    pixels = frame.reformat(_SLIDE_SIZE, _SLIDE_SIZE, interpolation="BILINEAR").to_ndarray().astype(np.float64)
    pixels = 255 - pixels if rng.random() < 0.4 else pixels
    return np.clip(pixels * rng.uniform(0.6, 1.4, 3) + rng.uniform(-50, 50, 3), 0, 255)


def _pictures(video: Path) -> Iterator[NDArray[np.uint8]]:
    for frame in islice(_frames_at(video, 1.0), _FRAMES):
        scale = 256 / min(frame.width, frame.height)
        size = (max(256, round(frame.width * scale)), max(256, round(frame.height * scale)))
        yield frame.reformat(*size, format="rgb24").to_ndarray()


def _frames_at(video: Path, step_s: float) -> Iterator[av.VideoFrame]:
    """Yield the frame that is shown at each multiple of `step_s`."""
    with av.open(str(video)) as container:
        begin, due, shown = None, 0.0, None
        for frame in container.decode(container.streams.video[0]):
            if frame.time is None:
                continue
            begin = frame.time if begin is None else begin
            while shown is not None and due < frame.time - begin - 1e-6:
                yield shown
                due += step_s
            shown = frame
        if shown is not None:
            yield shown


def _cut(frame: av.VideoFrame, variant: Variant, place: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return a square of `SIZE` pixels at the relative place of a frame."""
    scale = SIZE / (variant.side * min(frame.width, frame.height))
    width, height = max(SIZE, round(frame.width * scale)), max(SIZE, round(frame.height * scale))
    pixels = frame.reformat(width, height, format="rgb24", interpolation="AREA").to_ndarray()
    left, top = round(place[0] * (width - SIZE)), round(place[1] * (height - SIZE))
    pixels = pixels[top : top + SIZE, left : left + SIZE]
    return pixels[:, ::-1] if variant.is_mirrored else pixels


def _write(path: Path, frames: Iterable[NDArray[Any]]) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "12", "preset": "veryfast"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            bytes_of = np.ascontiguousarray(np.clip(pixels, 0, 255).astype(np.uint8))
            frame = av.VideoFrame.from_ndarray(bytes_of, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
