"""Generated frames as files: a picture, a contact sheet, a video.

Axes: N samples, T frames.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.writing import write_video
from schemas.storage.location import located

VIDEO_SUFFIX = ".mp4"
_GAP = 2  # white pixels between the frames of a contact sheet


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture [H, W, 3] as PNG."""
    made = io.BytesIO()
    Image.fromarray(picture).save(made, format="PNG")
    return made.getvalue()


def contact_sheet(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one picture of frames [N,T,H,W,3]: a row for each sample; a single frame is the picture itself."""
    samples, count, height, width, _ = frames.shape
    rows, columns = samples * (height + _GAP) - _GAP, count * (width + _GAP) - _GAP
    sheet = np.full((rows, columns, 3), 255, np.uint8)
    for n, sample in enumerate(frames):
        for t, frame in enumerate(sample):
            top, left = n * (height + _GAP), t * (width + _GAP)
            sheet[top : top + height, left : left + width] = frame
    return sheet


def write_frames(path: Path, frames: NDArray[np.uint8], *, rate: float) -> list[Path]:
    """Write frames [N,T,H,W,3] and return the files: videos of `rate` frames a second for .mp4, else one PNG.

    The PNG is a contact sheet. Several videos get numbers: NAME.mp4, NAME-2.mp4, ….
    """
    if path.suffix.lower() != VIDEO_SUFFIX:
        located(path).write(png_bytes(contact_sheet(frames)))
        return [path]
    paths = [path if n == 0 else path.with_stem(f"{path.stem}-{n + 1}") for n in range(len(frames))]
    for one, sample in zip(paths, frames, strict=True):
        write_video(one, sample, rate=rate)
    return paths
