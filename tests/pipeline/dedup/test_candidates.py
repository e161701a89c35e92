"""Candidate pairs: collisions of hash keys, from how many samples, in buckets of any size."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.candidates import (
    bucket_entries,
    count_collisions,
    distinct_keys,
    from_two_samples,
    merge_pairs,
    split_pair,
)


def search(held: dict[int, list[list[int]]], *, max_bucket: int = 32) -> tuple[Any, int]:
    """Return the pairs of items, given by the keys of each of their samples, and the number of full buckets."""
    parts = [(*distinct_keys(np.array(keys, np.uint64).reshape(len(keys), -1)), item) for item, keys in held.items()]
    keys, marks = (np.concatenate([part[i] for part in parts] or [[]]) for i in (0, 1))
    items = np.repeat([item for *_, item in parts], [len(keys) for keys, *_ in parts]).astype(np.uint64)
    keys, marks = keys.astype(np.uint64), marks.astype(np.uint8)
    partitions, entries = bucket_entries(keys, items, marks, np.zeros_like(keys))
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
    keys = np.arange(5, dtype=np.uint64)
    marks = np.zeros(5, np.uint8)
    one, other = (bucket_entries(keys, keys, marks, np.full(5, kind, np.uint64)) for kind in (0, 1))
    assert not np.intersect1d(one[1] >> np.uint64(32), other[1] >> np.uint64(32)).size
