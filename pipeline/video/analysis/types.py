"""Types of the video analysis: its configuration and its result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.video.geometry import Crop
from pipeline.video.types import VideoInfo


@dataclass(frozen=True)
class AnalysisConfig:
    """How many frames of a video are sampled and returned."""

    thumbnails: int = 5  # maximum number of frames that are kept as thumbnails
    decode_below_s: float = 60.0  # shorter videos are decoded completely if their key frames give too few samples
    frames: bool = False  # whether to return the thumbnail frames as arrays, for scores


@dataclass(frozen=True)
class VideoStats:
    """Statistics of a video or picture from n sampled frames."""

    info: VideoInfo
    content_id: str | None  # SHA-256 of the video stream's packets; None for pictures, whose file hash identifies them
    crop: Crop  # the picture without black bars, in displayed pixels
    measures: dict[str, float]  # see pipeline.video.analysis.summary
    times_s: NDArray[np.float64]  # [n], time of each sampled frame from the first frame
    durations_s: NDArray[np.float64]  # [n], time until the next sampled frame, or the end
    signatures: tuple[bytes, ...]  # n, see pipeline.video.analysis.frame_signature
    activity: bytes  # see pipeline.video.analysis.activity; empty for a picture
    thumbnail: bytes  # WebP, some frames side by side
    frames: NDArray[np.uint8]  # [m <= thumbnails, h, w, 3] RGB, the thumbnail frames; m = 0 if not requested
