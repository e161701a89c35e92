from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.packing.histogram_bins import Histogram, Integers
from pipeline.packing.permutation import permuted
from pipeline.packing.pieces import ranks
from pipeline.packing.recipe import make_recipe
from schemas.errors import DatasetError

NOTHING = np.zeros(0, np.int64)


def numbers(values: list[int]) -> Integers:
    return np.array(values, np.int64)


@given(
    items=st.lists(st.integers(1, 40), max_size=30),
    texts=st.lists(st.integers(1, 150), max_size=12),
    reach=st.sampled_from([0, 1, 5]),
)
@example(items=[9, 32], texts=[31], reach=1)
@settings(deadline=None, max_examples=300)
def test_what_a_recipe_says_of_each_document_fits_together(items: list[int], texts: list[int], reach: int) -> None:
    context, whole, cut = 40, numbers(items), numbers(texts)
    recipe, fewest = make_recipe(
        Histogram.of(whole), Histogram.of(cut), Histogram.of(whole), context_length=context, reach=reach
    )
    bins = recipe.bins_of(whole, ranks(whole))
    poured = recipe.pour(cut, ranks(cut))
    count = recipe.sequences
    assert fewest <= count
    filled = np.bincount(bins, whole, minlength=count) + np.bincount(poured.bin, poured.length, minlength=count)
    assert len(filled) == count
    # Each piece that begins within a text may grow by `reach`, and still fits.
    grown = np.bincount(poured.bin, reach * (poured.start > 0), minlength=count)
    assert (filled + grown <= context).all()
    assert (filled > 0).all()
    for i, length in enumerate(texts):
        mine = poured.text == i
        assert np.array_equal(np.cumsum(poured.length[mine]) - poured.length[mine], poured.start[mine])
        assert poured.length[mine].sum() == length
    assert (poured.length > 0).all()
    # The stream fills every gap that it passes, but for the last one it reaches.
    gaps = np.concatenate([np.arange(first, first + bins) for _, first, bins in recipe.gaps] or [NOTHING])
    reached = np.flatnonzero(np.isin(gaps, poured.bin))
    assert (filled[gaps[: reached.max(initial=0)]] == context - reach).all()


def test_documents_may_ask_for_their_places_in_any_company() -> None:
    rng = np.random.default_rng(0)
    whole, texts = rng.integers(1, 60, 500), rng.integers(1, 300, 100)
    recipe, _ = make_recipe(Histogram.of(whole), Histogram.of(texts), Histogram.of(whole), context_length=64, reach=2)
    rank, text_rank = ranks(whole), ranks(texts)
    together = recipe.bins_of(whole, rank)
    some = rng.permutation(500)[:70]
    assert np.array_equal(recipe.bins_of(whole[some], rank[some]), together[some])
    poured = recipe.pour(texts, text_rank)
    alone = [recipe.pour(texts[i : i + 1], text_rank[i : i + 1]) for i in range(100)]
    for name in ("start", "length", "bin"):
        assert np.array_equal(np.concatenate([getattr(a, name) for a in alone]), getattr(poured, name))
    assert recipe.bins_of(NOTHING, NOTHING).size == 0
    assert recipe.pour(NOTHING, NOTHING).text.size == 0


def test_a_document_that_was_not_counted_is_an_error() -> None:
    counted = Histogram.of(numbers([5, 5, 9]))
    recipe, _ = make_recipe(counted, counted, counted, context_length=32, reach=0)
    for length, rank in ((5, 2), (7, 0), (10, 0)):
        with pytest.raises(DatasetError, match="changed while it was packed"):
            recipe.bins_of(numbers([length]), numbers([rank]))
        with pytest.raises(DatasetError, match="changed while it was packed"):
            recipe.pour(numbers([length]), numbers([rank]))


def test_a_milliard_documents_are_planned_from_their_histogram() -> None:
    clips = Histogram(257 * np.arange(1, 101) + 5, np.full(100, 8_000_000))
    books = Histogram(np.unique(np.geomspace(2_000, 2_000_000, 5_000).astype(np.int64)), np.full(5_000, 40_000))
    books = Histogram(books.lengths, books.counts[: len(books.lengths)])
    recipe, fewest = make_recipe(clips, books, clips, context_length=32768, reach=0)
    assert recipe.items.items + recipe.texts.items > 990_000_000
    assert sum(array.nbytes for array in recipe.arrays) < 1 << 22
    assert recipe.sequences <= fewest * 1.0001
    last = numbers([int(clips.lengths[-1])]), numbers([7_999_999])
    assert 0 <= int(recipe.bins_of(*last)[0]) < recipe.sequences


@given(count=st.integers(1, 300), seed=st.integers(0, 3))
@settings(deadline=None)
def test_a_permutation_reaches_every_place_once(count: int, seed: int) -> None:
    places = permuted(np.arange(count), count, seed, "train")
    assert np.array_equal(np.sort(places), np.arange(count))
    assert np.array_equal(permuted(np.arange(count)[::-1], count, seed, "train"), places[::-1])


def test_permutations_of_other_seeds_are_others_and_look_random() -> None:
    one, other = (permuted(np.arange(10_000), 10_000, seed) for seed in (0, 1))
    assert np.mean(one == other) < 0.01
    assert abs(np.corrcoef(one, np.arange(10_000))[0, 1]) < 0.05
    assert permuted(numbers([0, 1 << 39]), 1 << 40, 5).max() < 1 << 40
