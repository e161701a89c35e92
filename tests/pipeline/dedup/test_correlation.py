"""The correlation of changes agrees with a direct computation."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dedup.correlation import correlation, correlation_of_changes
from pipeline.dedup.window import normalized
from pipeline.video.analysis.frame_signature import SIDE


def test_the_correlation_of_changes_agrees_with_a_direct_computation() -> None:
    rng = np.random.default_rng(1)
    q, r = (normalized(rng.normal(size=(9, SIDE, SIDE)) + 3 * rng.normal(size=(1, SIDE, SIDE))) for _ in range(2))
    change, energy = correlation_of_changes(q, r)
    for i in range(9):
        part = slice(max(0, i - 3), i + 4)
        best = -1.0
        for window in (part, slice(max(0, i - 3), i + 1), slice(i, i + 4)):
            x, y = q[window] - q[window].mean(0), r[window] - r[window].mean(0)
            size = np.sqrt((x * x).sum() * (y * y).sum())
            best = max(best, (x * y).sum() / size if size > 1e-6 else 0.0)
        assert change[i] == pytest.approx(best, abs=1e-3)
        x, y = q[part] - q[part].mean(0), r[part] - r[part].mean(0)
        assert energy[i] == pytest.approx(max((x * x).sum(1).mean(), (y * y).sum(1).mean()), abs=1e-4)


def test_correlation_is_that_of_all_values_together() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(5, 7)).astype(np.float32)
    assert correlation(x, 3 * x) == (pytest.approx(1), pytest.approx(9 * float((x * x).sum()) / 5))
    assert correlation(x, -x)[0] == pytest.approx(-1)
