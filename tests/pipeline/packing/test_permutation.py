from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.packing.permutation import mix, permuted


@given(count=st.integers(1, 300), seed=st.integers(0, 3))
@settings(deadline=None)
def test_a_permutation_maps_every_position_once(count: int, seed: int) -> None:
    places = permuted(np.arange(count), count, seed, "train")
    assert np.array_equal(np.sort(places), np.arange(count))
    assert np.array_equal(permuted(np.arange(count)[::-1], count, seed, "train"), places[::-1])


def test_permutations_of_different_seeds_are_uncorrelated() -> None:
    one, other = (permuted(np.arange(10_000), 10_000, seed) for seed in (0, 1))
    assert np.mean(one == other) < 0.01
    assert abs(np.corrcoef(one, np.arange(10_000))[0, 1]) < 0.05
    assert permuted(np.array([0, 1 << 39]), 1 << 40, 5).max() < 1 << 40


def test_mix_is_splitmix64() -> None:
    # The first two outputs of splitmix64 with seed 0.
    seeds = np.array([0, 0x9E3779B97F4A7C15], np.uint64)
    assert mix(seeds).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
