"""Features of clips for distances between sets of videos: few, simple, and named for what they are.

    color     6 dims: mean and standard deviation of red, green and blue over the clip
    motion    4 dims: mean and standard deviation over time of the mean change of gray from frame to frame, share of the
              pixels that change by more than a tenth, mean second difference
    latents   those of the tokenizer: mean output of its encoder over cells and frames

Color and motion are on a scale from 0 to 1. Latents are the tokenizer's own, so they see little of what it loses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenizer.codec import FrameCodec

Frames = NDArray[np.uint8]  # [n, H, W, 3], n at least FEWEST_FRAMES
FEWEST_FRAMES = 3  # of a clip
_CHANGED = 0.1


def clip_features(frames: Frames, codec: FrameCodec) -> dict[str, NDArray[np.float64]]:
    """Return the features of a clip, by set: [dims]."""
    return {"color": color(frames), "motion": motion(frames), "latents": codec.mean_latents(frames).mean(0)}


def color(frames: Frames) -> NDArray[np.float64]:
    """Return the mean and the standard deviation of each channel."""
    pixels = frames.reshape(-1, 3) / 255.0
    return np.concatenate([pixels.mean(0), pixels.std(0)])


def motion(frames: Frames) -> NDArray[np.float64]:
    """Return statistics of the change from frame to frame."""
    gray = frames.mean(-1) / 255.0
    change = np.abs(np.diff(gray, axis=0))
    by_time = change.mean((1, 2))
    return np.array(
        [by_time.mean(), by_time.std(), (change > _CHANGED).mean(), np.abs(np.diff(gray, n=2, axis=0)).mean()]
    )
