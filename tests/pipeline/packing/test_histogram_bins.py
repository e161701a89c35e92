from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.packing import patterns
from pipeline.packing.histogram_bins import Bins, Histogram, Integers, Placement, best_fit_decreasing, bins_lower_bound


def laid_out(lengths: Sequence[int], placed: list[Placement], bins: Bins) -> tuple[Integers, Integers]:
    """Return what fills each bin by the placements, item by item, and by the bins' own account."""
    ordered = -np.sort(-np.array(lengths, np.int64))
    chosen = np.full(len(ordered), -1)
    for p in placed:
        assert (chosen[p.item : p.item + p.items] == -1).all()
        chosen[p.item : p.item + p.items] = p.first + np.arange(p.items) % p.bins
    assert (chosen >= 0).all()
    room = np.zeros(bins.count, np.int64)
    for run in bins.rooms():
        room[run.first : run.first + run.bins] = run.room
    return np.bincount(chosen, ordered, minlength=bins.count).astype(np.int64), bins.capacity - room


def plain_best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[int]:
    """One item after the other, every bin looked at: the rooms that are left."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda i: rooms[i])] -= length
        else:
            rooms.append(capacity - length)
    return rooms


def fewest_by_trying(lengths: tuple[int, ...], capacity: int, rooms: tuple[int, ...] = ()) -> int:
    """Try every way to pack."""
    if not lengths:
        return len(rooms)
    first, rest = lengths[0], lengths[1:]
    choices = [(*rooms[:i], room - first, *rooms[i + 1 :]) for i, room in enumerate(rooms) if room >= first]
    return min(fewest_by_trying(rest, capacity, bins) for bins in [*choices, (*rooms, capacity - first)])


@given(data=st.data(), capacity=st.sampled_from([1, 7, 64, 1023, 1024, 5000]))
@settings(deadline=None, max_examples=150)
def test_packing_by_histogram_is_packing_one_by_one(data: st.DataObject, capacity: int) -> None:
    few = data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=8))
    lengths = data.draw(st.lists(st.sampled_from(few), max_size=120))
    placed, bins = best_fit_decreasing(Histogram.of(np.array(lengths, np.int64)), capacity)
    filled, told = laid_out(lengths, placed, bins)
    assert sorted((capacity - filled).tolist()) == sorted(plain_best_fit_decreasing(lengths, capacity))
    assert np.array_equal(filled, told)


def test_a_milliard_of_clips_is_a_handful_of_placements() -> None:
    bins = Bins(4096)
    lengths = (3858, 2058, 1030, 258)
    placed = [p for i, length in enumerate(lengths) for p in bins.place(length, 10**9, item=i * 10**9)]
    assert len(placed) < 20
    assert sum(p.items for p in placed) == 4 * 10**9


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=7), capacity=st.integers(20, 24))
@settings(deadline=None, max_examples=100)
def test_no_packing_goes_below_the_bound(lengths: list[int], capacity: int) -> None:
    bound = bins_lower_bound(Histogram.of(np.array(lengths)), capacity)
    assert -(-sum(lengths) // capacity) <= bound <= fewest_by_trying(tuple(lengths), capacity)


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    capacity=st.integers(50, 70),
    classes=st.sampled_from([3, 96]),
    work=st.sampled_from([30, 1 << 20]),
)
@settings(deadline=None, max_examples=60)
def test_packing_by_patterns_fits_every_item_in_one_bin(
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
    assert bound <= min(bins.count, len(plain_best_fit_decreasing(lengths, capacity)))


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=7), capacity=st.integers(20, 24))
@settings(deadline=None, max_examples=40)
def test_no_packing_goes_below_the_bound_by_patterns(lengths: list[int], capacity: int) -> None:
    bound = patterns.patterns_lower_bound(Histogram.of(np.array(lengths)), capacity)
    assert bound <= fewest_by_trying(tuple(lengths), capacity)


def test_the_bound_sees_that_frames_do_not_divide_the_context() -> None:
    def fewest(lengths: list[int], capacity: int) -> int:
        return bins_lower_bound(Histogram.of(np.array(lengths)), capacity)

    assert fewest([257] * 150, 4096) == 10  # 15 to a bin, though 15.9 would fit by tokens
    assert fewest([600, 1000] * 500, 4096) == 200  # no sum of them lies in 4,001..4,096
    assert fewest([6, 6, 6, 5], 10) == 4  # halves do not share, and 5 fits beside no 6


@given(parts=st.lists(st.lists(st.integers(1, 9), max_size=9), max_size=4))
def test_histograms_add_up(parts: list[list[int]]) -> None:
    total = Histogram.sum(Histogram.of(np.array(part, np.int64)) for part in parts)
    everything = np.array([length for part in parts for length in part], np.int64)
    assert [x.tolist() for x in total] == [x.tolist() for x in Histogram.of(everything)]
    assert (total.items, total.tokens) == (len(everything), everything.sum())
