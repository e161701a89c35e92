from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.packing import patterns
from pipeline.packing.histogram_bins import Histogram
from tests.support.packing.bin_packing import laid_out, optimal_bins, reference_best_fit_decreasing
from tests.support.packing.local_packing import make_jobs
from tests.support.packing.packing_cases import (
    ANYWHERE,
    clips,
)


@pytest.mark.slow
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    capacity=st.integers(50, 70),
    classes=st.sampled_from([3, 96]),
    work=st.sampled_from([30, 1 << 20]),
)
@settings(deadline=None, max_examples=60)
def test_patterns_place_every_item_within_the_capacity(
    lengths: list[int], capacity: int, classes: int, work: int
) -> None:
    items = Histogram.of(np.array(lengths))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "_CLASSES", classes)
        patch.setattr(patterns, "_WORK", work)
        placed, bins = patterns.pack_by_patterns(items, capacity)
        bound = patterns.patterns_lower_bound(items, capacity)
    filled, told = laid_out(lengths, placed, bins)
    assert filled.min() > 0
    assert filled.max() <= capacity
    assert np.array_equal(filled, told)
    assert bound <= min(bins.count, len(reference_best_fit_decreasing(lengths, capacity)))


@pytest.mark.slow
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=7), capacity=st.integers(20, 24))
@settings(deadline=None, max_examples=40)
def test_the_lower_bound_by_patterns_does_not_exceed_the_optimum(lengths: list[int], capacity: int) -> None:
    bound = patterns.patterns_lower_bound(Histogram.of(np.array(lengths)), capacity)
    assert bound <= optimal_bins(tuple(lengths), capacity)


def test_patterns_need_fewer_sequences_than_best_fit() -> None:
    frames = np.random.default_rng(0).integers(9, 13, 3000)  # 31 fit: 12 + 10 + 9, but nothing fits with 12 + 12
    made, _ = make_jobs([clips(frames, np.full(3000, 1))], ANYWHERE, context=8192)
    plain = -(-3000 // 2) * 0.88  # best fit puts most clips into pairs
    assert made.splits["train"].sequences < 0.95 * plain
    assert made.fill("train") >= 0.999 * made.best_fill("train")


def test_the_linear_program_is_exact_for_one_length() -> None:
    solution = patterns.solve(np.array([3]), np.array([12]), 10)
    assert solution.patterns[np.argmax(solution.uses)].tolist() == [3]
    assert solution.uses.sum() == pytest.approx(4)
    assert solution.bound == pytest.approx(4)


def test_an_empty_histogram_needs_no_bins() -> None:
    assert patterns.patterns_lower_bound(Histogram.of(np.zeros(0, np.int64)), 10) == 0
