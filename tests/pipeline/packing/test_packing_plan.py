from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.packing import packing_plan
from pipeline.packing.chunks import ranks
from pipeline.packing.histogram_bins import (
    BinRange,
    Bins,
    Histogram,
    Integers,
    Placement,
    best_fit_decreasing,
)
from pipeline.packing.packing_plan import make_packing_plan
from schemas.errors import DatasetError

NOTHING = np.zeros(0, np.int64)


def numbers(values: list[int]) -> Integers:
    return np.array(values, np.int64)


@pytest.mark.slow
@given(
    items=st.lists(st.integers(1, 40), max_size=30),
    texts=st.lists(st.integers(1, 150), max_size=12),
    reach=st.sampled_from([0, 1, 5]),
)
@example(items=[9, 32], texts=[31], reach=1)
@settings(deadline=None, max_examples=300)
def test_chunks_assigned_by_a_packing_plan_fit_into_their_sequences(
    items: list[int], texts: list[int], reach: int
) -> None:
    context, whole, cut = 40, numbers(items), numbers(texts)
    packing, fewest = make_packing_plan(
        Histogram.of(whole), Histogram.of(cut), Histogram.of(whole), context_length=context, reach=reach
    )
    bins = packing.bins_of(whole, ranks(whole))
    stream = packing.fill_free_space(cut, ranks(cut))
    count = packing.sequences
    assert fewest <= count
    filled = np.bincount(bins, whole, minlength=count) + np.bincount(stream.bin, stream.length, minlength=count)
    assert len(filled) == count
    # Each chunk that starts inside a text can grow by `reach` and still fits.
    grown = np.bincount(stream.bin, reach * (stream.start > 0), minlength=count)
    assert (filled + grown <= context).all()
    assert (filled > 0).all()
    for i, length in enumerate(texts):
        mine = stream.text == i
        assert np.array_equal(np.cumsum(stream.length[mine]) - stream.length[mine], stream.start[mine])
        assert stream.length[mine].sum() == length
    assert (stream.length > 0).all()
    # The stream fills all free space before the last one that it reaches.
    free = np.concatenate([np.arange(first, first + bins) for _, first, bins in packing.free_space] or [NOTHING])
    reached = np.flatnonzero(np.isin(free, stream.bin))
    assert (filled[free[: reached.max(initial=0)]] == context - reach).all()


@pytest.mark.slow
def test_bins_of_documents_do_not_depend_on_the_other_documents_of_the_call() -> None:
    rng = np.random.default_rng(0)
    whole, texts = rng.integers(1, 60, 500), rng.integers(1, 300, 100)
    packing, _ = make_packing_plan(
        Histogram.of(whole), Histogram.of(texts), Histogram.of(whole), context_length=64, reach=2
    )
    rank, text_rank = ranks(whole), ranks(texts)
    together = packing.bins_of(whole, rank)
    some = rng.permutation(500)[:70]
    assert np.array_equal(packing.bins_of(whole[some], rank[some]), together[some])
    filled = packing.fill_free_space(texts, text_rank)
    alone = [packing.fill_free_space(texts[i : i + 1], text_rank[i : i + 1]) for i in range(100)]
    for name in ("start", "length", "bin"):
        assert np.array_equal(np.concatenate([getattr(a, name) for a in alone]), getattr(filled, name))
    assert packing.bins_of(NOTHING, NOTHING).size == 0
    assert packing.fill_free_space(NOTHING, NOTHING).text.size == 0


def test_a_document_that_is_not_in_the_histogram_raises() -> None:
    counted = Histogram.of(numbers([5, 5, 9]))
    packing, _ = make_packing_plan(counted, counted, counted, context_length=32, reach=0)
    for length, rank in ((5, 2), (7, 0), (10, 0)):
        with pytest.raises(DatasetError, match="changed while it was packed"):
            packing.bins_of(numbers([length]), numbers([rank]))
        with pytest.raises(DatasetError, match="changed while it was packed"):
            packing.fill_free_space(numbers([length]), numbers([rank]))


def test_a_billion_documents_are_planned_from_their_histogram() -> None:
    clips = Histogram(257 * np.arange(1, 101) + 5, np.full(100, 8_000_000))
    books = Histogram(np.unique(np.geomspace(2_000, 2_000_000, 5_000).astype(np.int64)), np.full(5_000, 40_000))
    books = Histogram(books.lengths, books.counts[: len(books.lengths)])
    packing, fewest = make_packing_plan(clips, books, clips, context_length=32768, reach=0)
    assert packing.items.items + packing.texts.items > 990_000_000
    assert sum(array.nbytes for array in packing.arrays) < 1 << 22
    assert packing.sequences <= fewest * 1.0001
    last = numbers([int(clips.lengths[-1])]), numbers([7_999_999])
    assert 0 <= int(packing.bins_of(*last)[0]) < packing.sequences


def one_item_per_bin(items: Histogram, capacity: int) -> tuple[list[Placement], Bins]:
    """Pack every item into a separate bin."""
    bins, placed, item = Bins(capacity), list[Placement](), 0
    for length, count in zip(items.lengths[::-1].tolist(), items.counts[::-1].tolist(), strict=True):
        placed.append(Placement(item, count, bins.count, count))
        bins.open(BinRange(capacity - length, bins.count, count))
        item += count
    return placed, bins


@pytest.mark.parametrize("better_is_last", [True, False])
def test_a_registered_packer_is_used_if_it_needs_fewer_sequences(
    better_is_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, nothing = Histogram.of(numbers([60] * 3 + [35] * 3)), Histogram.of(NOTHING)
    packers = (one_item_per_bin, best_fit_decreasing)
    monkeypatch.setattr(packing_plan, "PACKERS", packers if better_is_last else packers[::-1])
    packing, lower_bound = make_packing_plan(items, nothing, items, context_length=100, reach=0)
    assert (packing.sequences, lower_bound) == (3, 3)
    assert sorted(packing.bins_of(numbers([60] * 3), numbers([0, 1, 2])).tolist()) == [0, 1, 2]
    assert sorted(packing.bins_of(numbers([35] * 3), numbers([0, 1, 2])).tolist()) == [0, 1, 2]
    monkeypatch.setattr(packing_plan, "PACKERS", packers[:1])
    assert make_packing_plan(items, nothing, items, context_length=100, reach=0)[0].sequences == 6
