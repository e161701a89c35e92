"""Which items are worth a comparison: those that meet in buckets of equal keys, in how many, and with which samples.

An entry is a key, the number of an item, and which of its samples has the key, in one uint64; sorting entries makes
the buckets. Keys are mixed first; their upper bits say in which of `PARTITIONS` they are counted, 32 more stand in the
entry. (Two different keys that agree in all of these 40 bits only bring a pair together that a comparison refuses.)

One picture of a million is like one of another million by chance; that two of one item are like two of the other hardly
is. So a pair remembers whether it met with more than one sample of each; one that stands still counts as several.

A bucket of `s` items gives s * (s - 1) / 2 pairs up to a cap. An overfull one (a title card, a black frame with a
logo) gives each item its neighbors in the order of numbers, and the first item as a hub: time and pairs stay
linear, whatever is in the corpus, and the same items pair up in every bucket that they share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Votes = NDArray[Any]  # of VOTE, sorted by pair

PARTITIONS = 256  # of the keys; a constant, as it decides nothing but how the work is spread
MOST_ITEMS = 1 << 26  # that an entry has room for
REPEATED, ONLY = 62, 63  # marks in the place of a sample's number: several have the key; there is no other sample

_MARKS = 64
_NEIGHBORS = 4
_HALF, _MARK_BITS = np.uint64(32), np.uint64(6)
_LOW, _MARK = np.uint64(0xFFFFFFFF), np.uint64(_MARKS - 1)

# A pair, the smaller number in the upper half; its keys in common; of the marks of either item the smallest, and the
# smallest distance from the top, so that both are minima.
VOTE = np.dtype([("pair", "<u8"), ("votes", "<u2"), ("seen", "u1", 4)], align=True)  # or a search copies all pairs


def marked(keys: Words) -> tuple[Words, NDArray[np.uint8]]:
    """Return the different keys of an item's samples `[m, k]`, sorted, and of each the mark of its sample."""
    if len(keys) == 1:
        only = np.unique(keys)
        return only, np.full(len(only), ONLY, np.uint8)
    samples = np.repeat(np.arange(len(keys)), keys.shape[1])
    order = np.lexsort((samples, keys.reshape(-1)))
    values, samples = keys.reshape(-1)[order], samples[order]
    starts = _starts(values)
    if not len(starts):
        return values, samples.astype(np.uint8)
    first, last = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    return values[starts], np.where(first == last, first % REPEATED, REPEATED).astype(np.uint8)


def entries_of(keys: Words, items: Words, marks: NDArray[np.uint8], kinds: Words) -> tuple[NDArray[np.uint8], Words]:
    """Return for keys [N] of items [N], with marks [N] of samples, the partition and the entry of each, sorted by both.

    Keys of different kinds do not meet. Each key of an item is given once, as `marked` does: a picture that stands
    still for a minute votes with each of its keys once.
    """
    mixed = _mix(keys ^ _mix(kinds))
    entries = mixed >> np.uint64(24) << _HALF | items << _MARK_BITS | marks
    partitions = (mixed >> np.uint64(56)).astype(np.uint8)
    order = np.lexsort((entries, partitions))
    return partitions[order], entries[order]


def _mix(values: Words) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): each bit of the result depends on all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _starts(values: Words) -> NDArray[np.int64]:
    """Return where in sorted values [N] each different one begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]]))


def count_votes(entries: Words, *, cap: int) -> tuple[Votes, int]:
    """Return the pairs that meet in the buckets of one partition, and how many buckets were overfull.

    `entries` [N] come in any order. O(N log N) time; at most N * max(cap / 2, 5) pairs.
    """
    entries = np.sort(entries)
    entries = entries[_starts(entries >> _MARK_BITS)]  # two keys of an item may agree in all 40 bits
    keys = entries >> _HALF
    starts = _starts(keys)
    sizes = np.diff(starts, append=len(keys))
    full = np.repeat(sizes > cap, sizes)
    hub = np.repeat(starts, sizes)
    at = np.flatnonzero(full & (np.arange(len(keys)) - hub > _NEIGHBORS))
    ones, others = [entries[hub[at]]], [entries[at]]
    at = np.arange(len(keys))
    for step in range(1, max(cap, _NEIGHBORS + 1)):
        at = at[: np.searchsorted(at, len(keys) - step)]
        at = at[keys[at] == keys[at + step]]
        if step > _NEIGHBORS:
            at = at[~full[at]]
        if not len(at):
            break
        ones.append(entries[at])
        others.append(entries[at + step])
    return _met(np.concatenate(ones), np.concatenate(others)), int((sizes > cap).sum())


def _met(ones: Words, others: Words) -> Votes:
    """Return the votes of entries [N] that met entries [N]; the first of two has the smaller number."""
    votes = np.zeros(len(ones), VOTE)
    votes["pair"] = (ones & _LOW) >> _MARK_BITS << _HALF | (others & _LOW) >> _MARK_BITS
    votes["votes"] = 1
    marks = np.stack([ones & _MARK, others & _MARK], axis=1).astype(np.uint8)
    low, high = marks.copy(), marks.copy()
    low[marks == REPEATED] = 0
    low[(marks == ONLY).any(1)] = 0
    high[(marks == ONLY).any(1)] = REPEATED
    votes["seen"] = np.concatenate([low, REPEATED - high], axis=1)
    return add_votes([votes])


def add_votes(parts: list[Votes]) -> Votes:
    """Add up votes, of several partitions or of one that is in no order."""
    votes = np.concatenate(parts) if parts else np.zeros(0, VOTE)
    votes = votes[np.argsort(votes["pair"], kind="stable")]
    starts = _starts(votes["pair"])
    if not len(starts):
        return votes
    added = votes[starts]
    added["votes"] = np.minimum(np.add.reduceat(votes["votes"].astype(np.int64), starts), 0xFFFF)
    added["seen"] = np.minimum.reduceat(votes["seen"], starts)
    return added


def of_two_samples(votes: Votes) -> NDArray[np.bool_]:
    """Say of each pair whether it met with two samples of either item at least, where both have as many."""
    seen = votes["seen"].astype(np.int64)
    return np.asarray((seen[:, 0] + seen[:, 2] < REPEATED) & (seen[:, 1] + seen[:, 3] < REPEATED))


def split_pair(pairs: Words) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the smaller and the larger number of each pair."""
    return (pairs >> _HALF).astype(np.int64), (pairs & _LOW).astype(np.int64)
