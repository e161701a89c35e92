"""Candidate pairs of an LSH search: items that share hash keys, with the number of keys, and from how many samples.

An entry is one uint64: a hash key, the number of an item, and a mark for the sample that has the key. Sorted entries
form the buckets. Keys are mixed first; their upper 8 bits choose one of `PARTITIONS`, the next 32 are in the entry. Two
different keys that agree in these 40 bits only add a candidate that the comparison rejects.

In a corpus of a million items, one frame of an item resembles one of another by chance, but two of each hardly do. A
pair therefore records whether its collisions come from more than one sample of each item. An item with a single sample
counts as having several.

A bucket of `s` items gives s * (s - 1) / 2 pairs up to a maximum size. A larger one (a title card, a black frame with a
logo) pairs each item with its next neighbors by number and with the first item as a hub: time and pairs stay linear
for any corpus, and the same items pair up in all buckets that they share.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Pairs = NDArray[Any]  # of PAIR, sorted by `pair`

PARTITIONS = 256  # of the hash keys; a constant, because it only decides how the work is divided
MAX_ITEMS = 1 << 26  # that fit in an entry
SEVERAL, ONLY = 62, 63  # marks in place of a sample's number: several samples have the key; the item has one sample

MAX_TOGETHER = 256  # items whose entries are made together

_MARKS = 64
_SAMPLES = 1 << 16  # of an item that are told apart; later ones count as one
_NEIGHBORS = 4  # in a bucket over the maximum size
_HALF, _MARK_BITS = np.uint64(32), np.uint64(6)
_LOW, _MARK = np.uint64(0xFFFFFFFF), np.uint64(_MARKS - 1)

# `pair` holds two items, the smaller number in the upper half. `marks` are the smallest mark of either item, and the
# smallest difference of a mark to SEVERAL, so that merging takes minima only. Aligned, because a binary search would
# otherwise copy all pairs.
PAIR = np.dtype([("pair", "<u8"), ("collisions", "<u2"), ("marks", "u1", 4)], align=True)


def bucket_entries(keys: Keys, items: NDArray[np.int64], kind: int) -> tuple[NDArray[np.uint8], Keys]:
    """Return the partition [N] and the entry [N] of each distinct key of some items of one kind.

    `keys` [m, k] are those of m samples, and `items` [m] the numbers of the items that these belong to, those of an
    item in a row; there are at most `MAX_TOGETHER` items. Keys of different kinds never collide. A key that an item has
    several times gives one entry: a picture that stands still for a minute adds one collision per key.
    """
    first = _starts(items)
    assert len(first) <= MAX_TOGETHER
    sizes = np.diff(first, append=len(items))
    place = np.repeat(np.arange(len(first)), sizes)
    sample = np.minimum(np.arange(len(items)) - first[place], _SAMPLES - 1)
    # One number to sort by: the item, 8 bits; the key, 40 bits; the sample, 16 bits.
    tag = place.astype(np.uint64) << np.uint64(56) | sample.astype(np.uint64)
    mixed = _mix(keys ^ _mix(np.array([kind], np.uint64)))
    held = np.sort((mixed >> np.uint64(24) << np.uint64(16) | tag[:, None]).reshape(-1))
    starts = _starts(held >> np.uint64(16))
    lowest, highest = held[starts], held[np.append(starts[1:], len(held))[: len(starts)] - 1]
    place = (lowest >> np.uint64(56)).astype(np.int64)
    marks = lowest % np.uint64(_SAMPLES) % np.uint64(SEVERAL)
    marks[lowest != highest] = SEVERAL
    marks[sizes[place] == 1] = ONLY
    entries = lowest >> np.uint64(16) << _HALF | items[first[place]].astype(np.uint64) << _MARK_BITS | marks
    return (lowest >> np.uint64(48)).astype(np.uint8), entries


def sorted_entries(partitions: NDArray[np.uint8], entries: Keys) -> tuple[NDArray[np.uint8], Keys]:
    """Return partitions [N] and entries [N] sorted by both."""
    order = np.argsort(partitions, kind="stable")  # a radix sort
    partitions, entries = partitions[order], entries[order]
    for start, end in pairwise(np.searchsorted(partitions, np.arange(PARTITIONS + 1)).tolist()):
        entries[start:end].sort()
    return partitions, entries


def in_key_range(entries: Keys, number: int, ranges: int) -> Keys:
    """Return those of sorted entries [N] whose keys are in one of `ranges` equal ranges."""
    edges = np.array([(n << 32) // ranges for n in (number, number + 1)], np.uint64)
    return entries[slice(*np.searchsorted(entries >> _HALF, edges).tolist())].copy()


def _mix(values: Keys) -> Keys:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): each bit of the result depends on all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _starts(values: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the index of the first of each run of equal values in sorted values [N]."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]]))


def count_collisions(entries: Keys, *, max_bucket: int) -> tuple[Pairs, int]:
    """Return the pairs that collide in the buckets of one partition, and how many buckets exceed `max_bucket` items.

    `entries` [N] may be in any order, and those of a partition may be divided over several calls by their keys; an item
    has a key once, as in `bucket_entries`. O(N log N) time; at most N * max(max_bucket / 2, 5) pairs.
    """
    entries = np.sort(entries)
    keys = (entries >> _HALF).astype(np.uint32)
    starts = _starts(keys)
    sizes = np.diff(starts, append=len(keys))
    full = sizes > max_bucket
    is_full = np.repeat(full, sizes)
    hub, index = np.repeat(starts[full], sizes[full]), np.flatnonzero(is_full)
    is_far = index - hub > _NEIGHBORS
    ones, others = [entries[hub[is_far]]], [entries[index[is_far]]]
    index = np.flatnonzero(keys[:-1] == keys[1:])
    for step in range(1, max(max_bucket, _NEIGHBORS + 1)):
        index = index[: np.searchsorted(index, len(keys) - step)]
        index = index[keys[index] == keys[index + step]]
        if step > _NEIGHBORS:
            index = index[~is_full[index]]
        if not len(index):
            break
        ones.append(entries[index])
        others.append(entries[index + step])
    return _pairs_of(np.concatenate(ones), np.concatenate(others)), int(full.sum())


def _pairs_of(ones: Keys, others: Keys) -> Pairs:
    """Return the pairs of entries [N] that collide with entries [N]; the first of two has the smaller number."""
    pairs = np.zeros(len(ones), PAIR)
    pairs["pair"] = (ones & _LOW) >> _MARK_BITS << _HALF | (others & _LOW) >> _MARK_BITS
    pairs["collisions"] = 1
    marks = np.stack([ones & _MARK, others & _MARK], axis=1).astype(np.uint8)
    low, high = marks.copy(), marks.copy()
    low[marks == SEVERAL] = 0
    low[(marks == ONLY).any(1)] = 0
    high[(marks == ONLY).any(1)] = SEVERAL
    pairs["marks"] = np.concatenate([low, SEVERAL - high], axis=1)
    return merge_pairs([pairs])


def merge_pairs(parts: list[Pairs]) -> Pairs:
    """Return the sum of pairs of several partitions, or of one in any order, sorted by pair."""
    pairs = np.concatenate(parts) if parts else np.zeros(0, PAIR)
    pairs = pairs[np.argsort(pairs["pair"], kind="stable")]
    starts = _starts(pairs["pair"])
    if not len(starts):
        return pairs
    merged = pairs[starts]
    merged["collisions"] = np.minimum(np.add.reduceat(pairs["collisions"].astype(np.int64), starts), 0xFFFF)
    merged["marks"] = np.minimum.reduceat(pairs["marks"], starts)
    return merged


def from_two_samples(pairs: Pairs) -> NDArray[np.bool_]:
    """Return for each pair whether its collisions come from at least two samples of each item that has two."""
    marks = pairs["marks"].astype(np.int64)
    return np.asarray((marks[:, 0] + marks[:, 2] < SEVERAL) & (marks[:, 1] + marks[:, 3] < SEVERAL))


def split_pair(pairs: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the smaller and the larger number of each pair."""
    return (pairs >> _HALF).astype(np.int64), (pairs & _LOW).astype(np.int64)
