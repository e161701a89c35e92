"""Candidate pairs: collisions of hash keys, from how many samples, in buckets of any size."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.candidates import (
    ONLY,
    SEVERAL,
    bucket_entries,
    count_collisions,
    from_two_samples,
    in_key_range,
    merge_pairs,
    sorted_entries,
    split_pair,
)


def search(held: dict[int, list[list[int]]], *, max_bucket: int = 32) -> tuple[Any, int]:
    """Return the pairs of items, given by the keys of each of their samples, and the number of full buckets."""
    keys = np.array([sample for keys in held.values() for sample in keys], np.uint64).reshape(-1, 2)
    items = np.array([item for item, keys in held.items() for _ in keys], np.int64)
    partitions, entries = bucket_entries(keys, items, 0)
    counted = [count_collisions(entries[partitions == p], max_bucket=max_bucket) for p in np.unique(partitions)]
    return merge_pairs([pairs for pairs, _ in counted]), sum(full for _, full in counted)


ITEMS = st.dictionaries(
    st.integers(0, 9), st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=2), min_size=1, max_size=3)
)


@given(ITEMS, st.integers(2, 12))
@settings(deadline=None, max_examples=60)
def test_collisions_are_the_hash_keys_that_two_items_share(held: dict[int, list[list[int]]], max_bucket: int) -> None:
    found, full = search(held, max_bucket=max_bucket)
    have = {item: {key for sample in keys for key in sample} for item, keys in held.items()}
    members = {key: sorted(item for item, keys in have.items() if key in keys) for key in range(7)}
    assert full == sum(len(m) > max_bucket for m in members.values())
    for a, b, collisions in zip(*split_pair(found["pair"]), found["collisions"], strict=True):
        assert a < b
        common = have[a] & have[b]
        small = [key for key in common if len(members[key]) <= max_bucket]
        assert len(small) <= collisions <= len(common)
    counted = set(zip(*(side.tolist() for side in split_pair(found["pair"])), strict=True))
    for some in members.values():
        if len(some) <= max_bucket:
            assert {(a, b) for a in some for b in some if a < b} <= counted
        else:  # its first item, and the next one
            assert {(some[0], b) for b in some[1:]} | set(itertools.pairwise(some)) <= counted


@given(ITEMS)
@settings(deadline=None, max_examples=60)
def test_collisions_come_from_two_samples_unless_one_sample_has_all_of_them(held: dict[int, list[list[int]]]) -> None:
    found, _ = search(held)

    def more_than_one(item: int, common: set[int]) -> bool:
        return not any(
            common.isdisjoint({key for j, other in enumerate(held[item]) if j != i for key in other})
            for i in range(len(held[item]))
        )

    for a, b, two in zip(*split_pair(found["pair"]), from_two_samples(found), strict=True):
        common = {key for sample in held[a] for key in sample} & {key for sample in held[b] for key in sample}
        single = 1 in (len(held[a]), len(held[b]))
        assert two == (single or (more_than_one(a, common) and more_than_one(b, common)))


def test_keys_of_different_kinds_do_not_collide() -> None:
    keys = np.arange(5, dtype=np.uint64)[:, None]
    one, other = (bucket_entries(keys, np.arange(5), kind)[1] for kind in (0, 1))
    assert not np.intersect1d(one >> np.uint64(32), other >> np.uint64(32)).size


@given(ITEMS)
@settings(deadline=None, max_examples=60)
def test_an_item_has_one_entry_per_key_with_the_mark_of_its_samples(held: dict[int, list[list[int]]]) -> None:
    keys = np.array([sample for keys in held.values() for sample in keys], np.uint64).reshape(-1, 2)
    items = np.array([item for item, keys in held.items() for _ in keys], np.int64)
    partitions, entries = sorted_entries(*bucket_entries(keys, items, 1))
    expected = []
    for item, samples in held.items():
        for key in {key for sample in samples for key in sample}:
            (partition,), (entry,) = bucket_entries(np.array([[key]], np.uint64), np.array([item]), 1)
            having = [number for number, sample in enumerate(samples) if key in sample]
            mark = ONLY if len(samples) == 1 else having[0] if len(having) == 1 else SEVERAL
            expected.append((int(partition), int(entry) - ONLY + mark))
    assert list(zip(partitions.tolist(), entries.tolist(), strict=True)) == sorted(expected)


def test_samples_of_a_long_item_are_told_apart() -> None:
    keys = np.array([1, *range(10, 200), 2, 1], np.uint64)[:, None]  # 1 in the first and the last sample
    _, entries = bucket_entries(keys, np.zeros(len(keys), np.int64), 0)
    marks = np.sort(entries & np.uint64(63)).tolist()
    assert marks == sorted([SEVERAL, *(number % SEVERAL for number in range(1, 192))])


@given(st.integers(1, 50))
def test_key_ranges_have_each_entry_once_and_do_not_divide_a_key(ranges: int) -> None:
    rng = np.random.default_rng(ranges)
    keys = rng.integers(0, 1 << 32, 40, np.uint64)
    entries = np.sort((keys[:, None] << np.uint64(32) | rng.integers(0, 1 << 32, (40, 3), np.uint64)).reshape(-1))
    parts = [in_key_range(entries, number, ranges) for number in range(ranges)]
    assert np.array_equal(np.concatenate(parts), entries)
    assert sum(len(np.unique(part >> np.uint64(32))) for part in parts) == len(np.unique(keys))
