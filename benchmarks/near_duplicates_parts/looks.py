"""Signatures of clips as a simple survey would make them: two frames a second, without bars."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.likeness import Signature
from pipeline.signature import GREY_SIDE, VERSION, frame_sample
from schemas.fingerprint import fingerprint

STEP_S = 0.5
_DARK = 28  # luma; what never gets brighter is a bar


def look(path: Path, name: str, *, keyframes: bool = False) -> Signature:
    """Decode a clip and return its signature: two samples a second, or its keyframes. Kept beside the clip."""
    kept = path.with_name(f"{path.name}.{'keyframes' if keyframes else 'look'}-{VERSION}.npz")
    if not kept.is_file():
        times, end, frames = _frames(path, keyframes)
        greys = [_grey(frame) for frame in frames[:, *_window(frames)]]
        samples = np.stack([np.frombuffer(frame_sample(grey), np.uint8) for grey in greys])
        np.savez(kept, at=times, lasts=np.diff(times, append=end), samples=samples)
    with np.load(kept) as given:
        samples = tuple(sample.tobytes() for sample in given["samples"])
        return Signature(fingerprint(name), "video", given["at"], given["lasts"], samples)


def _frames(path: Path, keyframes: bool) -> tuple[list[float], float, NDArray[np.uint8]]:
    """Return times, the end, and frames [n, H, W] of luma."""
    times: list[float] = []
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first, at = None, 0.0
        for frame in container.decode(stream):
            at = float(frame.pts * frame.time_base)
            first = at if first is None else first
            if frame.key_frame if keyframes else at - first >= len(times) * STEP_S - 1e-3:
                times.append(at - first if keyframes else len(times) * STEP_S)
                frames.append(frame.reformat(format="gray8").to_ndarray())
        end = at - (first or 0.0) + 1 / float(stream.average_rate or 25)
    return times, max(end, times[-1] + 1e-3), np.stack(frames)


def _window(frames: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns that hold the picture."""
    brightest = frames.max(0)
    rows = np.flatnonzero(np.percentile(brightest, 90, axis=1) > _DARK)
    columns = np.flatnonzero(np.percentile(brightest, 90, axis=0) > _DARK)
    if not len(rows) or not len(columns):
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _grey(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average areas of a picture into a square."""
    summed = np.pad(frame.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = (np.linspace(0, n, GREY_SIDE + 1) for n in frame.shape)
    integral = _between(_between(summed, rows).T, columns).T
    area = np.diff(rows)[:, None] * np.diff(columns)[None]
    return np.clip(np.round(np.diff(np.diff(integral, axis=0), axis=1) / area), 0, 255).astype(np.uint8)


def _between(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.minimum(at.astype(int), len(values) - 2)
    share = (at - low)[:, None]
    return values[low] * (1 - share) + values[low + 1] * share
