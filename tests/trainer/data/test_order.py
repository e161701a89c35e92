from __future__ import annotations

from collections import Counter
from fractions import Fraction

import grain
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.order import Order, Segment

WEIGHTS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)
HALF = Fraction(1, 2)


def by_hand(weights: list[int], samples: int) -> list[int]:
    """Webster's method, one seat after the other: the largest quotient weight / (2 seats + 1) is next."""
    seats, order = [0] * len(weights), []
    for _ in range(samples):
        best = max(range(len(weights)), key=lambda i: (Fraction(weights[i], 2 * seats[i] + 1), -i))
        seats[best] += 1
        order.append(best)
    return order


@given(weights=WEIGHTS, first=st.integers(0, 120))
def test_the_sources_of_samples_follow_websters_method_from_any_sample_on(weights: list[int], first: int) -> None:
    expected = by_hand(weights, 120)
    segment = Segment(0, tuple(weights), (0,) * len(weights))
    assert [source for source, _ in segment.draws(first, 120)] == expected[first:]
    assert segment.counts(first) == [expected[:first].count(i) for i in range(len(weights))]
    for source, draw in segment.draws(first, min(first + 3, 120)):
        at = segment.samples_until(source, draw + 1)
        assert expected[:at].count(source) == draw + 1
        assert expected[at - 1] == source


@given(weights=WEIGHTS)
def test_after_any_number_of_samples_each_source_has_its_share(weights: list[int]) -> None:
    segment, total = Segment(0, tuple(weights), (0,) * len(weights)), sum(weights)
    most = 0.5 if len(weights) <= 2 else len(weights) / 2
    for n in range(100):
        assert all(abs(c - n * w / total) <= most for c, w in zip(segment.counts(n), weights, strict=True))


@pytest.mark.slow
def test_datasets_without_weights_are_one_source_with_a_permutation_for_each_epoch() -> None:
    plain = grain.MapDataset.range(12).shuffle(7).repeat(20)
    assert Order([5, 7], seed=7).sequences(3, 200).tolist() == [int(plain[i]) for i in range(3, 200)]


def test_shares_are_exact_and_every_epoch_of_a_source_uses_each_of_its_sequences_once() -> None:
    order = Order([6, 14], seed=3, mixtures=[(0, [Fraction("0.3"), Fraction("0.7")])])
    for epoch in range(5):
        seen = order.sequences(20 * epoch, 20 * epoch + 20).tolist()
        assert sorted(seen) == list(range(20))
    assert order.used(1000) == [300, 700]
    far = order.sequences(10**12, 10**12 + 100)
    assert np.count_nonzero(far < 6) == 30


def test_any_part_of_the_order_equals_that_part_of_the_whole() -> None:
    mixtures = [(0, [HALF, HALF, Fraction(0)]), (31, [Fraction("0.1"), Fraction("0.2"), Fraction("0.7")])]
    order = Order([5, 8, 40], seed=1, mixtures=mixtures, max_epochs=3)
    assert order.length is not None
    whole = order.sequences(0, order.length).tolist()
    assert [int(order.sequences(i, i + 1)[0]) for i in range(order.length)] == whole
    for k in (0, 30, 31, 32, 60, order.length):
        counts = Counter(0 if i < 5 else 1 if i < 13 else 2 for i in whole[:k])
        assert order.used(k) == [counts[0], counts[1], counts[2]]


def test_a_source_that_reached_the_maximum_of_epochs_leaves_its_share_to_the_others() -> None:
    order = Order([2, 10, 30], seed=0, mixtures=[(0, [HALF, Fraction("0.25"), Fraction("0.25")])], max_epochs=2)
    assert order.length == 2 * 42
    whole = order.sequences(0, 84).tolist()
    assert set(Counter(whole).values()) == {2}
    (first, source), (second, next_source), (end, last) = order.exhausted
    assert (source, next_source, last, end) == (0, 1, 2, 84)
    assert whole[first - 1] < 2  # its last use
    after = whole[first:second]
    assert min(after) >= 2
    assert abs(sum(i < 12 for i in after) - len(after) / 2) <= 1
    with pytest.raises(IndexError):
        order.sequences(80, 85)


def test_a_dataset_that_is_named_twice_has_two_different_orders() -> None:
    order = Order([8, 8], seed=0, mixtures=[(0, [HALF, HALF])])
    seen = order.sequences(0, 16).tolist()
    once, again = [i for i in seen if i < 8], [i - 8 for i in seen if i >= 8]
    assert sorted(once) == sorted(again)
    assert once != again


def test_a_source_without_sequences_may_have_the_weight_zero() -> None:
    order = Order([0, 4], seed=0, mixtures=[(0, [Fraction(0), Fraction(1)])])
    assert sorted(order.sequences(0, 4).tolist()) == [0, 1, 2, 3]
