"""Quality of a frame tokenizer on given frames, with confidence intervals, next to JPEG and WebP at the same size.

| measure | unit | what |
|---|---|---|
| psnr | dB | over all pixels and channels of a frame; 100 for an exact reconstruction |
| ssim | | Wang et al. (IEEE TIP 2004) over uniform windows of 8 x 8 pixels, per channel |
| flicker | gray levels | mean absolute change of a pixel's error between consecutive frames: visible shimmer |
| utilization | fraction | of the codebook that occurs in these frames |
| perplexity | codes | exp of the entropy of the codes: the number of equally frequent codes with the same information |

Intervals are 95 % delete-one jackknife intervals (Efron, "The Jackknife, the Bootstrap and Other Resampling Plans",
1982) with Student's t. The deleted unit is a run of consecutive frames of a video, as neighboring frames are similar,
and a whole video for the total. The method is deterministic. The caller must exclude frames of the training set.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from schemas.errors import InputError, Reason
from tokenizer.codec import FrameCodec
from tokenizer.evaluation.image_codecs import compress_frames

Frames = NDArray[np.uint8]
T = TypeVar("T")
Distance = Callable[[Frames, Frames], NDArray[np.float64]]  # two arrays [n, H, W, 3] to [n]

_WINDOW = 8
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_PSNR_CAP = 100.0  # dB, of an exact reconstruction
_RANGES = {"psnr": (0.0, _PSNR_CAP), "ssim": (-1.0, 1.0)}  # other measures: from 0; intervals are clipped to the range
_FROM_0 = (0.0, math.inf)
_RUNS = 10  # number of runs into which a video is divided for its intervals


@dataclass(frozen=True)
class Estimate:
    """A measure and its interval; the bounds are None if there is only one part."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Clip:
    """The measures of n consecutive frames of a video."""

    codes: NDArray[np.integer]  # [n, cells]
    measures: Mapping[str, Mapping[str, NDArray[np.float64]]]  # by codec ("tokens", "jpeg", ...) and measure: [<= n]


class Reconstruction(NamedTuple):
    """The reconstruction of n consecutive frames."""

    codes: NDArray[np.integer]  # [n, cells]
    frames: dict[str, Frames]  # by codec: [n, H, W, 3]


def reconstruct(codec: FrameCodec, frames: Frames, *, baselines: Sequence[str] = ()) -> Reconstruction:
    """Encode and decode consecutive frames uint8 `[n, H, W, 3]`, n > 0. `baselines` are keys of BASELINES."""
    codes, (height, width) = codec.encode(frames), frames.shape[1:3]
    reconstructed = {"tokens": codec.decode(codes, grid=codec.config.grid(height, width))}
    budget = math.floor(codec.config.bits(height, width) / 8)
    return Reconstruction(codes, reconstructed | {name: compress_frames(name, frames, budget) for name in baselines})


def measure(frames: Frames, reconstructed: Reconstruction, *, distance: Distance | None = None) -> Clip:
    """Compare frames with their reconstructions."""
    measures = {name: compare(frames, found, distance=distance) for name, found in reconstructed.frames.items()}
    return Clip(reconstructed.codes, measures)


def compare(
    frames: Frames, reconstructed: Frames, *, distance: Distance | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return each measure of the frames `[n, H, W, 3]` of a clip: `[n]`, flicker `[n - 1]`."""
    found = {
        "psnr": psnr(frames, reconstructed),
        "ssim": ssim(frames, reconstructed),
        "flicker": flicker(frames, reconstructed),
    }
    return found | ({"distance": distance(frames, reconstructed)} if distance else {})


@dataclass(frozen=True)
class Evaluation:
    """The results of a video, or of several videos together."""

    frames: int
    tokens: dict[str, Estimate]  # by measure, including utilization and perplexity
    baselines: dict[str, dict[str, Estimate]]  # by codec and measure


def summarize(parts: Sequence[Sequence[Clip]], *, codebook_size: int) -> Evaluation:
    """Combine the measures of independent, non-empty parts: runs of a video, or videos; InputError if none."""
    if not parts or not all(parts):
        raise InputError(Reason.EMPTY, "there is no frame to evaluate on")
    first = parts[0][0].measures
    values = {
        codec: {
            n: jackknife(parts, _mean_of(codec, n), _RANGES.get(n, _FROM_0)) for n in measures if _has(parts, codec, n)
        }
        for codec, measures in first.items()
    }
    values["tokens"] |= {
        "utilization": jackknife(parts, lambda given: float((_histogram(given, codebook_size) > 0).mean()), (0, 1)),
        "perplexity": jackknife(parts, lambda given: perplexity(_histogram(given, codebook_size)), (1, codebook_size)),
    }
    frames = sum(len(clip.codes) for part in parts for clip in part)
    return Evaluation(frames, values.pop("tokens"), values)


def runs_of(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Divide the clips of one video into the runs that its interval is computed from."""
    count = min(len(clips), _RUNS)
    cuts = [round(i * len(clips) / count) for i in range(count + 1)] if count else [0]
    return [list(clips[start:end]) for start, end in itertools.pairwise(cuts)]


def jackknife(
    parts: Sequence[T], statistic: Callable[[Sequence[T]], float], within: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Return a statistic of all parts and its delete-one interval, clipped to `within`."""
    value, count = statistic(parts), len(parts)
    if count < 2:
        return Estimate(value)
    without = np.array([statistic([*parts[:i], *parts[i + 1 :]]) for i in range(count)])
    error = math.sqrt((count - 1) / count * float(np.square(without - without.mean()).sum()))
    half = float(stdtrit(count - 1, 0.975)) * error
    return Estimate(value, max(within[0], value - half), min(within[1], value + half))


def _has(parts: Sequence[Sequence[Clip]], codec: str, name: str) -> bool:
    """Return whether every part has this measure: flicker needs two frames."""
    return all(any(clip.measures[codec][name].size for clip in part) for part in parts)


def _mean_of(codec: str, name: str) -> Callable[[Sequence[Sequence[Clip]]], float]:
    def mean(parts: Sequence[Sequence[Clip]]) -> float:
        return float(np.concatenate([clip.measures[codec][name] for part in parts for clip in part]).mean())

    return mean


def _histogram(parts: Iterable[Iterable[Clip]], size: int) -> NDArray[np.int64]:
    total = np.zeros(size, np.int64)
    for part in parts:
        for clip in part:
            total += np.bincount(clip.codes.ravel(), minlength=size)
    return total


def perplexity(histogram: NDArray[np.int64]) -> float:
    """Return exp of the entropy of a histogram `[K]` that is not all 0."""
    share = histogram[histogram > 0] / histogram.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def psnr(a: Frames, b: Frames) -> NDArray[np.float64]:
    """Return the PSNR of each pair of frames of two arrays `[n, H, W, 3]`, in dB, `[n]`; equal frames give 100."""
    squares = np.square(a.astype(np.float64) - b).mean((1, 2, 3))
    floor = 255.0**2 / 10 ** (_PSNR_CAP / 10)
    return 10 * np.log10(255.0**2 / np.maximum(squares, floor))


def flicker(a: Frames, b: Frames) -> NDArray[np.float64]:
    """Return the mean absolute change of the error of `b` between consecutive frames, `[n - 1]`, in gray levels."""
    error = b.astype(np.int16) - a
    change: NDArray[np.float64] = np.abs(np.diff(error, axis=0)).mean((1, 2, 3), dtype=np.float64)
    return change


def ssim(a: Frames, b: Frames) -> NDArray[np.float64]:
    """Return the mean structural similarity of each pair of frames of two arrays `[n, H, W, 3]`, `[n]`."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x**2
    var_y = _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    similarity: NDArray[np.float64] = (luminance * structure).mean((1, 2, 3))
    return similarity


def _window_mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of every 8 x 8 window of `[n, H, W, C]`, from sums over the rectangle to the top left."""
    sums = np.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0))).cumsum(1).cumsum(2)
    k = _WINDOW
    windows = sums[:, k:, k:] - sums[:, :-k, k:] - sums[:, k:, :-k] + sums[:, :-k, :-k]
    return windows / k**2
