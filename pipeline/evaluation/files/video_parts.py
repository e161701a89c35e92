"""The part of a video that a question is about, as a video of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.writing import write_video
from schemas.errors import ConfigError

_RATE, _SIZE = 4.0, 336


def write_part(video: Path, seconds: tuple[float, float], folder: Path) -> Path:
    """Write the frames from start to end, 4 a second of 336 x 336 pixels from the center, and return the file.

    A file that exists is kept; its name depends on the path, the size and the time of the video. The frame before
    `start` is taken if there is none in between. Raises ConfigError if the video ends before `start`, InputError if it
    cannot be decoded.
    """
    facts = video.stat()
    name = hashlib.sha256(repr((str(video), facts.st_size, facts.st_mtime_ns, seconds)).encode()).hexdigest()[:16]
    path = folder / f"{video.stem}-{name}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_video(path, _frames(video, *seconds), rate=_RATE)
    return path


def _frames(video: Path, start: float, end: float) -> list[NDArray[np.uint8]]:
    found: list[NDArray[np.uint8]] = []
    before: NDArray[np.uint8] | None = None
    last = 0.0
    with Decoder(DecodeConfig(fps=_RATE, size=_SIZE)) as decoder:
        for frames, times in decoder.frames(video):
            found += [frame.copy() for frame, at in zip(frames, times, strict=True) if start <= at <= end]
            earlier = np.flatnonzero(times < start)
            before = frames[earlier[-1]].copy() if len(earlier) else before
            last = float(times[-1])
            if last > end:
                break
    if found or (before is not None and start <= last + 1 / _RATE):
        return found or [before]  # type: ignore[list-item]
    raise ConfigError(f"{video} has {last:.1f} seconds and no frame from {start:g} to {end:g} seconds")
