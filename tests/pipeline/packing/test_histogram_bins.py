from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.packing.histogram_bins import Bins, Histogram, best_fit_decreasing, bins_lower_bound
from tests.support.packing.bin_packing import laid_out, optimal_bins, reference_best_fit_decreasing


@given(data=st.data(), capacity=st.sampled_from([1, 7, 64, 1023, 1024, 5000]))
@settings(deadline=None, max_examples=150)
def test_packing_a_histogram_equals_packing_items_one_by_one(data: st.DataObject, capacity: int) -> None:
    few = data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=8))
    lengths = data.draw(st.lists(st.sampled_from(few), max_size=120))
    placed, bins = best_fit_decreasing(Histogram.of(np.array(lengths, np.int64)), capacity)
    filled, told = laid_out(lengths, placed, bins)
    assert sorted((capacity - filled).tolist()) == sorted(reference_best_fit_decreasing(lengths, capacity))
    assert np.array_equal(filled, told)


def test_a_billion_clips_per_length_need_few_placements() -> None:
    bins = Bins(4096)
    lengths = (3858, 2058, 1030, 258)
    placed = [p for i, length in enumerate(lengths) for p in bins.place(length, 10**9, item=i * 10**9)]
    assert len(placed) < 20
    assert sum(p.items for p in placed) == 4 * 10**9


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=7), capacity=st.integers(20, 24))
@settings(deadline=None, max_examples=100)
def test_the_lower_bound_does_not_exceed_the_optimum(lengths: list[int], capacity: int) -> None:
    bound = bins_lower_bound(Histogram.of(np.array(lengths)), capacity)
    assert -(-sum(lengths) // capacity) <= bound <= optimal_bins(tuple(lengths), capacity)


def test_the_lower_bound_accounts_for_lengths_that_do_not_divide_the_capacity() -> None:
    def fewest(lengths: list[int], capacity: int) -> int:
        return bins_lower_bound(Histogram.of(np.array(lengths)), capacity)

    assert fewest([257] * 150, 4096) == 10  # 15 to a bin, though 15.9 would fit by tokens
    assert fewest([600, 1000] * 500, 4096) == 200  # no sum of them lies in 4,001..4,096
    assert fewest([6, 6, 6, 5], 10) == 4  # no two items fit into one bin


@given(parts=st.lists(st.lists(st.integers(1, 9), max_size=9), max_size=4))
def test_the_sum_of_histograms_is_the_histogram_of_all_lengths(parts: list[list[int]]) -> None:
    total = Histogram.sum(Histogram.of(np.array(part, np.int64)) for part in parts)
    everything = np.array([length for part in parts for length in part], np.int64)
    assert [x.tolist() for x in total] == [x.tolist() for x in Histogram.of(everything)]
    assert (total.items, total.tokens) == (len(everything), everything.sum())
