"""Confidence intervals of mean scores, deterministic for the same scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_RESAMPLES = 4000
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean with the limits of its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def interval(scores: Sequence[float]) -> Interval:
    """Return the mean of scores from 0 to 1: with Wilson's interval for zeros and ones, else with a bootstrap's."""
    if not scores:
        raise ValueError("an interval needs at least one score")
    if set(scores) <= {0.0, 1.0}:
        return wilson(int(sum(scores)), len(scores))
    return Interval(float(np.mean(scores)), *bootstrap_limits(scores))


def wilson(successes: int, trials: int) -> Interval:
    """Return Wilson's score interval (1927) of a proportion."""
    from scipy.stats import binomtest  # takes 2 s to import

    found = binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def bootstrap_limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the percentile interval of the mean over resamples of the values."""
    found = np.asarray(values, float)
    rng = np.random.default_rng(len(found))
    means = [found[rng.integers(0, len(found), len(found))].mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
