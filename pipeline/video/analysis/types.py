"""TODO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.video.types import VideoInfo


@dataclass(frozen=True)
class AnalysisConfig:
    """How closely a video is looked at."""

    thumbnails: int = 5  # frames, at most, that are kept as pictures
    decode_below_s: float = 60.0  # shorter videos are decoded whole where key frames give too few looks
    frames: bool = False  # whether the pictures themselves are wanted, for scores


@dataclass(frozen=True)
class VideoStats:
    """What a look at a video or picture finds; n looks, from its first frame to its end."""

    info: VideoInfo
    content_id: str | None  # SHA-256 of the packets of its picture stream; None for pictures: the file's bytes tell
    crop: tuple[int, int, int, int]  # left, top, width, height of the picture without bars, in pixels as shown
    measures: dict[str, float]  # see pipeline.video.analysis.summary
    times_s: NDArray[np.float64]  # [n], seconds from the first frame
    durations_s: NDArray[np.float64]  # [n], seconds until the next look, or the end
    signatures: tuple[bytes, ...]  # n, see pipeline.video.analysis.frame_signature
    thumbnail: bytes  # WebP, some frames side by side
    frames: NDArray[np.uint8]  # [m <= thumbnails, h, w, 3] RGB, the same frames, where they were asked for; else m = 0
