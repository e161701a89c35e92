"""Two long videos aligned by their activity: the bytes that their encoders spent between key frames.

The course of the bytes is known all the time, the pictures only at sampled frames. It gives the offset of two encodings
of one recording, and tells other recordings apart that look alike. Levels are compared relative to their mean over
`AROUND_S`, because rate control moves that mean. An encoder with a constant rate of bytes, or a picture that never or
always moves alike, has no course: its correlation is not significant, and only pictures decide.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.video.analysis.activity import AROUND_S, PERIOD_S, STEPS_PER_OCTAVE, mean_around

Floats = NDArray[np.float64]

_LOCAL_S = 8.0  # on either side of a time at which the correlation is wanted
MIN_OVERLAP_S = 20.0
_MIN_DEVIATION = 0.1  # octaves
_MAX_LAG_S = 10.0  # over which the levels of a video may be correlated with themselves
_APART_S = 2.0  # between two candidate offsets
_MAX_OTHER = 0.6  # of the score of an offset that stands out: the best of the others


class Correlation(NamedTuple):
    """The correlation of two courses, and how many standard deviations of chance it is away from 0."""

    value: float
    significance: float


def course(levels: bytes) -> Floats | None:
    """Return the levels of a video in octaves, relative to the time around; None if they are too short or constant."""
    octaves = np.frombuffer(levels, np.uint8) / STEPS_PER_OCTAVE
    if len(octaves) * PERIOD_S < MIN_OVERLAP_S:
        return None
    around = round(AROUND_S / PERIOD_S)
    relative = octaves - mean_around(octaves, around)
    return relative if relative.std() >= _MIN_DEVIATION else None


def likely_offsets(one: Floats, other: Floats, *, count: int) -> list[float]:
    """Return the offsets in seconds, by which the times of `other` are larger, with the most significant correlations.

    O(n log n), by Fourier transforms.
    """
    score = _scores(one, other)
    offsets = []
    for _ in range(count):
        best = int(np.argmax(score))
        if score[best] <= 0:
            break
        offsets.append((best - len(one) + 1) * PERIOD_S)
        score[_near(best)] = -np.inf
    return offsets


def stands_out(one: Floats | None, other: Floats | None, offset: float) -> bool:
    """Return whether two courses correlate far better at one offset than at all others.

    They do not if they correlate by chance, or because both have the same rhythm (a question every ten seconds).
    """
    if one is None or other is None:
        return False
    score = _scores(one, other)
    near = _near(round(offset / PERIOD_S) + len(one) - 1)
    best = float(score[near].max(initial=0.0))
    score[near] = 0.0
    return float(score.max()) < _MAX_OTHER * best


def _near(place: int) -> slice:
    apart = round(_APART_S / PERIOD_S)
    return slice(max(0, place - apart), max(0, place + apart + 1))


def _scores(one: Floats, other: Floats) -> Floats:
    """Return the correlation at each offset, weighted by the root of the overlap; -inf if that is too short."""
    size = 1 << int(np.ceil(np.log2(len(one) + len(other))))
    known = [np.ones(len(one)), np.ones(len(other))]

    def products(x: Floats, y: Floats) -> Floats:
        spectrum = np.conj(np.fft.rfft(x, size)) * np.fft.rfft(y, size)
        return np.roll(np.fft.irfft(spectrum, size), len(one) - 1)[: len(one) + len(other) - 1]

    overlap = products(known[0], known[1])
    energy = products(one**2, known[1]) * products(known[0], other**2)
    value = products(one, other) / np.sqrt(np.maximum(energy, 1e-9))
    return np.where(overlap * PERIOD_S >= MIN_OVERLAP_S - 1e-3, value * np.sqrt(np.maximum(overlap, 0)), -np.inf)


def correlation(one: Floats, other: Floats, offset: float, *, start_s: float, end_s: float) -> Correlation:
    """Return the correlation of two courses from `start_s` to `end_s` of `one`; zeros if that is too short.

    Successive values are not independent: their number is divided by the sum of the products of both autocorrelations
    (Bartlett, 1946). The inverse hyperbolic tangent of a correlation is about normally distributed (Fisher, 1915).
    """
    x, y, begin = _overlap(one, other, offset)
    first, last = (round(time_s / PERIOD_S) - begin for time_s in (start_s, end_s))
    x, y = x[max(0, first) : max(0, last)], y[max(0, first) : max(0, last)]
    if len(x) * PERIOD_S < MIN_OVERLAP_S:
        return Correlation(0.0, 0.0)
    x, y = x - x.mean(), y - y.mean()
    value = float(x @ y / np.sqrt(max(1e-9, (x @ x) * (y @ y))))
    lags = min(round(_MAX_LAG_S / PERIOD_S), len(x) // 4)
    common = sum(_autocorrelation(x, lag) * _autocorrelation(y, lag) for lag in range(1, lags))
    independent = len(x) / max(1.0, 1 + 2 * common)
    return Correlation(value, float(np.arctanh(min(value, 0.999)) * np.sqrt(max(0.0, independent - 3))))


def local_correlation(one: Floats, other: Floats, offset: float, times_s: Floats) -> Floats:
    """Return the correlation around each of `times_s` [m] of `one`, NaN where the courses do not overlap: [m]."""
    x, y, first = _overlap(one, other, offset)
    found = np.full(len(times_s), np.nan)
    if len(x) * PERIOD_S < MIN_OVERLAP_S:
        return found
    around = round(_LOCAL_S / PERIOD_S)
    means = [mean_around(values, around) for values in (x, y, x * y, x * x, y * y)]
    mean_x, mean_y, product, square_x, square_y = means
    spread = np.maximum(square_x - mean_x**2, 1e-4) * np.maximum(square_y - mean_y**2, 1e-4)
    values = (product - mean_x * mean_y) / np.sqrt(spread)
    index = np.floor(times_s / PERIOD_S).astype(np.int64) - first
    inside = (index >= 0) & (index < len(values))
    found[inside] = values[index[inside]]
    return found


def _overlap(one: Floats, other: Floats, offset: float) -> tuple[Floats, Floats, int]:
    """Return the common parts of two courses, and the index in `one` at which they start."""
    shift = round(offset / PERIOD_S)
    first, last = max(0, -shift), min(len(one), len(other) - shift)
    return one[first : max(first, last)], other[first + shift : max(first, last) + shift], first


def _autocorrelation(values: Floats, lag: int) -> float:
    return float(values[lag:] @ values[:-lag] / max(1e-9, float(values @ values)))
