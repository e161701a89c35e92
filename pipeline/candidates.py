"""Which items are worth a comparison: those that meet in buckets of equal keys, and in how many.

An entry is a key and the number of an item in one uint64, so that sorting entries makes the buckets. Keys are mixed
first; their upper bits say in which of `PARTITIONS` they are counted, 32 more stand in the entry. (Two different keys
that agree in all of these 40 bits only bring a pair together that a comparison then refuses.)

A bucket of `s` items gives s * (s - 1) / 2 pairs up to a cap. An overfull one (a title card, a black frame with a
logo) gives each item its neighbours in the order of numbers, and the first item as a hub: time and pairs stay
linear, whatever is in the corpus, and the same items pair up in every bucket that they share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

PARTITIONS = 256  # of the keys; a constant, as it decides nothing but how the work is spread
_NEIGHBOURS = 4
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Votes(NamedTuple):
    """Pairs of items [P], in order, the smaller number in the upper half; and how many keys each has in common."""

    pairs: Words
    votes: NDArray[np.uint16]


def entries_of(keys: Words, items: Words, kinds: Words) -> tuple[NDArray[np.uint8], Words]:
    """Return for keys [N] of items [N] of some kinds [N] the partition and the entry of each, without repetitions.

    Keys of different kinds do not meet. The same key of the same item counts once: a picture that
    stands still for a minute is one piece of evidence.
    """
    mixed = _mix(keys ^ _mix(kinds))
    entries = mixed >> np.uint64(24) << _HALF | items
    partitions = (mixed >> np.uint64(56)).astype(np.uint8)
    order = np.lexsort((entries, partitions))
    entries, partitions = entries[order], partitions[order]
    new = np.ones(len(entries), bool)
    new[1:] = (np.diff(entries) != 0) | (np.diff(partitions) != 0)
    return partitions[new], entries[new]


def _mix(values: Words) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): each bit of the result depends on all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def slices(numbers: NDArray[Any]) -> Iterator[tuple[int, slice]]:
    """Yield each of some sorted numbers [N] once, and where it stands."""
    starts = np.flatnonzero(np.diff(numbers.astype(np.int64), prepend=-1)).tolist()
    ends = [*starts[1:], len(numbers)]
    yield from ((int(numbers[start]), slice(start, end)) for start, end in zip(starts, ends, strict=False))


def count_votes(entries: Words, *, cap: int) -> tuple[Votes, int]:
    """Return the pairs that meet in the buckets of one partition, and how many buckets were overfull.

    `entries` [N] come in any order. O(N log N) time; at most N * max(cap / 2, 5) pairs.
    """
    entries = np.unique(entries)
    keys, items = entries >> _HALF, entries & _LOW
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1]]))
    sizes = np.diff(starts, append=len(keys))
    full = np.repeat(sizes > cap, sizes)
    hub = np.repeat(starts, sizes)
    at = np.flatnonzero(full & (np.arange(len(keys)) - hub > _NEIGHBOURS))
    found = [_pair(items[hub[at]], items[at])]
    at = np.arange(len(keys))
    for step in range(1, max(cap, _NEIGHBOURS + 1)):
        at = at[: np.searchsorted(at, len(keys) - step)]
        at = at[keys[at] == keys[at + step]]
        if step > _NEIGHBOURS:
            at = at[~full[at]]
        if not len(at):
            break
        found.append(_pair(items[at], items[at + step]))
    pairs, votes = np.unique(np.concatenate(found), return_counts=True)
    return Votes(pairs, np.minimum(votes, 0xFFFF).astype(np.uint16)), int((sizes > cap).sum())


def _pair(one: Words, other: Words) -> Words:
    return one << _HALF | other  # entries are sorted, so `one` is the smaller


def add_votes(parts: list[Votes]) -> Votes:
    """Add up the votes that several partitions gave."""
    if not parts:
        return Votes(np.zeros(0, np.uint64), np.zeros(0, np.uint16))
    pairs, back = np.unique(np.concatenate([part.pairs for part in parts]), return_inverse=True)
    votes = np.bincount(back, np.concatenate([part.votes for part in parts]), len(pairs))
    return Votes(pairs, np.minimum(votes, 0xFFFF).astype(np.uint16))


def split_pair(pairs: Words) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the smaller and the larger number of each pair."""
    return (pairs >> _HALF).astype(np.int64), (pairs & _LOW).astype(np.int64)
