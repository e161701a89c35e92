"""The frames of a video that a model sees, as files for a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.captioning.config import CaptionConfig
from pipeline.language_models.chat import Media
from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.spread_frames import spread_indices, thinned_frames

_HELD = 256  # frames in memory, of which the shown ones are chosen, if they are small enough
_HELD_BYTES = 256 << 20


@contextmanager
def shown_frames(path: Path, config: CaptionConfig) -> Iterator[tuple[list[Media], list[float]]]:
    """Return a context manager with the frames, in temporary PNG files, and their times in seconds.

    The same file gives the same bytes. Raises InputError for a file that cannot be decoded.
    """
    frames, times = _chosen(path, config)
    with TemporaryDirectory(prefix="longreel-") as folder:
        files = [Path(folder, f"{number:04d}.png") for number in range(len(frames))]
        for file, frame in zip(files, frames, strict=True):
            Image.fromarray(frame).save(file)
        yield [Media("image", file) for file in files], times


def _chosen(path: Path, config: CaptionConfig) -> tuple[NDArray[np.uint8], list[float]]:
    """Return frames [n, H, W, 3] at equal distances from the first to the last, and their times."""
    with Decoder(DecodeConfig(fps=1.0, size=config.size)) as decoder:
        most = min(max(_HELD, 8 * config.frames), _HELD_BYTES // config.frame_bytes)
        frames, times = thinned_frames(decoder, path, held=max(most, 2 * config.frames))
    chosen = spread_indices(len(frames), config.frames)
    return frames[chosen], times[chosen].tolist()
