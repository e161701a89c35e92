"""How well a frame tokenizer does on given frames: PSNR, SSIM, how many codes it uses and how evenly.

PSNR is in dB over all pixels and channels of a frame, then averaged over frames. SSIM is that of Wang et al.
(IEEE TIP 2004) over uniform windows of 8 x 8 pixels, a channel at a time. Nothing here knows whether the frames
were trained on: give it frames of videos that were not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError, Reason
from tokenizer.codec import FrameCodec

_WINDOW = 8
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_PSNR_CAP = 100.0  # dB, for frames that come back exactly


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` measured."""

    frames: int
    psnr: float  # dB, mean over frames
    ssim: float  # mean over frames
    code_use: float  # share of the codebook that occurs at all
    perplexity: float  # exp of the entropy of the codes: how many evenly used codes would carry as much
    bits_per_pixel: float  # log2 of the codebook's size, a code, over the pixels of its cell


def evaluate(codec: FrameCodec, clips: Iterable[NDArray[np.uint8]]) -> Evaluation:
    """Encode and decode arrays of uint8 `[n, H, W, 3]` and compare; raises InputError when there is no frame."""
    psnrs, ssims = [], []
    histogram = np.zeros(codec.codebook_size, np.int64)
    for frames in clips:
        codes = codec.encode(frames)
        rebuilt = codec.decode(codes, grid=codec.config.grid(*frames.shape[1:3]))
        histogram += np.bincount(codes.ravel(), minlength=codec.codebook_size)
        psnrs.append(psnr(frames, rebuilt))
        ssims.append(ssim(frames, rebuilt))
    if not psnrs:
        raise InputError(Reason.EMPTY, "no frame to evaluate on")
    share = histogram[histogram > 0] / histogram.sum()
    return Evaluation(
        frames=sum(map(len, psnrs)),
        psnr=float(np.concatenate(psnrs).mean()),
        ssim=float(np.concatenate(ssims).mean()),
        code_use=float((histogram > 0).mean()),
        perplexity=float(np.exp(-np.sum(share * np.log(share)))),
        bits_per_pixel=float(np.log2(codec.codebook_size) / codec.config.factor**2),
    )


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the PSNR of each pair of frames of two arrays `[n, H, W, 3]`, in dB, `[n]`; equal frames give 100."""
    squares = np.square(a.astype(np.float64) - b).mean((1, 2, 3))
    floor = 255.0**2 / 10 ** (_PSNR_CAP / 10)
    return 10 * np.log10(255.0**2 / np.maximum(squares, floor))


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
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
