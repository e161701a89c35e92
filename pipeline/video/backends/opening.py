"""Opens a file with the backend for its content: pictures with Pillow, videos with the selected backend."""

from __future__ import annotations

import stat
from pathlib import Path

from pipeline.video.backends.picture_formats import HEAD_BYTES, is_picture
from pipeline.video.backends.pyav import PyAVSource
from pipeline.video.backends.registry import PICTURES, require_backend
from pipeline.video.backends.source import AnalysisSource, FrameSource
from schemas.errors import InputError, Reason


def open_for_analysis(path: Path, *, size: int, max_pixels: int) -> AnalysisSource:
    """Open a picture or video for probing and analysis, with Pillow or PyAV. Raises InputError."""
    if is_picture(path, _head(path)):
        picture: AnalysisSource = PICTURES.load()(path, size=size, max_pixels=max_pixels)
        return picture
    return PyAVSource(path, size=size, max_pixels=max_pixels)


def open_for_frames(path: Path, *, size: int, max_pixels: int, backend: str) -> FrameSource:
    """Open a picture or video for decoding all of its frames with the selected backend. Raises InputError."""
    chosen = PICTURES if is_picture(path, _head(path)) else require_backend(backend)
    source: FrameSource = chosen.load()(path, size=size, max_pixels=max_pixels)
    return source


def _head(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size:
            with path.open("rb") as f:
                return f.read(HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise InputError(Reason.MISSING, f"{path}: no such file") from e
    if not stat.S_ISREG(status.st_mode):
        raise InputError(Reason.UNREADABLE, f"{path}: a folder or device, expected a file")
    raise InputError(Reason.EMPTY, f"{path}: the file is empty (0 bytes)")
