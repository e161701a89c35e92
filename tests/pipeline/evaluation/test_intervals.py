"""Confidence intervals contain the true mean about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.intervals import bootstrap_limits, interval, wilson


def test_wilsons_interval_has_the_published_limits() -> None:
    assert wilson(8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0, 0.1611), abs=1e-4)
    assert wilson(20, 20) == pytest.approx((1, 0.8389, 1), abs=1e-4)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_wilsons_interval_covers_the_share(share: float) -> None:
    rng = np.random.default_rng(0)
    intervals = [wilson(count, 40) for count in range(41)]
    found = [intervals[count] for count in rng.binomial(40, share, 2000)]
    assert 0.92 < np.mean([low <= share <= high for _, low, high in found]) < 0.98


def test_shares_of_an_answer_are_bootstrapped_and_the_same_each_time() -> None:
    scores = np.random.default_rng(1).choice([0, 0.25, 0.5, 1], 60).tolist()
    mean, low, high = interval(scores)
    assert mean == pytest.approx(np.mean(scores))
    half = 1.96 * np.std(scores) / np.sqrt(60)
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.01)
    assert interval(scores) == (mean, low, high)
    assert bootstrap_limits([0.3]) == pytest.approx((0.3, 0.3))


def test_no_score_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        interval([])
