"""Best-fit-decreasing bin packing of a histogram of lengths, and lower bounds on the number of bins.

Items of equal length are interchangeable, and so are bins of equal room. Lengths are processed in descending order, and
a range of bins of equal room is filled in one step with `room // length` items per bin, which gives the same bins as
placing the items one by one. The cost depends on the numbers of distinct lengths and rooms, not on the number of items:
10^9 clips of 100 lengths take milliseconds. The result is equally compact: a `Placement` assigns a range of items to a
range of bins. The smallest room that fits a length is found in a two-level bitmap with a few integer operations.

Best-fit-decreasing: Johnson, Demers, Ullman, Garey and Graham, SIAM J. Comput. 3 (1974). Lower bounds: L2 of Martello
and Toth, Discrete Appl. Math. 28 (1990); the dual feasible functions u(k) of Fekete and Schepers, Math. Program. 91
(2001), which account for frames of 257 tokens, of which 15 fit into 4,096; and the largest reachable sum of lengths.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
_WORD = 1024  # bits in one word of the bitmap
_MAX_K = 4096  # u(k) differs from x by less than 1/k, so a larger k hardly changes the bound
_BOUND_WORK = 20_000_000  # maximum number of evaluations of u(k) for one bound: about a second


class Histogram(NamedTuple):
    """The distinct `lengths` [D] in ascending order, and their `counts` [D], each at least 1."""

    lengths: Integers
    counts: Integers

    @classmethod
    def of(cls, lengths: Integers) -> Histogram:
        """Count `lengths` [N]."""
        values, counts = np.unique(np.asarray(lengths, np.int64), return_counts=True)
        return cls(values, counts.astype(np.int64))

    @classmethod
    def sum(cls, some: Iterable[Histogram]) -> Histogram:
        """Return the sum of histograms."""
        parts = [cls(np.zeros(0, np.int64), np.zeros(0, np.int64)), *some]
        values, place = np.unique(np.concatenate([part.lengths for part in parts]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, place, np.concatenate([part.counts for part in parts]))
        return cls(values, counts)

    @property
    def items(self) -> int:
        """Number of items N."""
        return int(self.counts.sum())

    @property
    def tokens(self) -> int:
        """Sum of the lengths of all items."""
        return int(self.lengths @ self.counts)


class Placement(NamedTuple):
    """Assigns `items` items, from number `item` on, to `bins` bins in turn: item + j goes to bin first + j % bins.

    Items are numbered in descending order of length.
    """

    item: int
    items: int
    first: int
    bins: int


class BinRange(NamedTuple):
    """The bins `first` to `first + bins - 1`, each of which has `room` free tokens."""

    room: int
    first: int
    bins: int


class Bins:
    """Bins of equal capacity, numbered in the order of opening and stored as ranges of equal room."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        self._runs: defaultdict[int, deque[tuple[int, int]]] = defaultdict(deque)  # room -> ranges (first, bins)
        self._words: defaultdict[int, int] = defaultdict(int)  # bit `room % _WORD` of word `room // _WORD`
        self._summary = 0  # bit w: word w is not 0

    def open(self, run: BinRange) -> None:
        """Append bins that are already filled to this room; their numbers must follow the last bin."""
        assert run.first == self.count
        self.count += run.bins
        self._put(*run)

    def place(self, length: int, items: int, *, item: int) -> list[Placement]:
        """Place `items` items of `length`, numbered from `item`, as best fit places them one by one."""
        placed = []
        while items:
            room = self.smallest_fitting_room(length)
            if room is None:
                room = self.capacity
                first, bins = self.count, max(1, items // (room // length))
                self.count += bins
            else:
                first, bins = self._take(room)
            each = min(room // length, items)
            filled = min(bins, items // each)
            placed.append(Placement(item, filled * each, first, filled))
            self._put(room - each * length, first, filled)
            self._put(room, first + filled, bins - filled)
            items -= filled * each
            item += filled * each
        return placed

    def smallest_fitting_room(self, length: int) -> int | None:
        """Return the smallest room of at least `length` among the bins, or None."""
        high, low = divmod(length, _WORD)
        if word := self._words[high] >> low:
            return length + _lowest(word)
        if not (words := self._summary >> (high + 1)):
            return None
        high += 1 + _lowest(words)
        return high * _WORD + _lowest(self._words[high])

    def rooms(self) -> list[BinRange]:
        """Return the bins that are not full, in descending order of room."""
        runs = [BinRange(room, *run) for room, some in self._runs.items() for run in some]
        return sorted(runs, key=lambda run: (-run.room, run.first))

    def _take(self, room: int) -> tuple[int, int]:
        runs = self._runs[room]
        run = runs.popleft()
        if not runs:
            high, low = divmod(room, _WORD)
            self._words[high] &= ~(1 << low)
            if not self._words[high]:
                self._summary &= ~(1 << high)
        return run

    def _put(self, room: int, first: int, bins: int) -> None:
        if room and bins:
            self._runs[room].append((first, bins))
            high, low = divmod(room, _WORD)
            self._words[high] |= 1 << low
            self._summary |= 1 << high


def best_fit_decreasing(items: Histogram, capacity: int) -> tuple[list[Placement], Bins]:
    """Pack items of lengths in 1..capacity; return placements that cover all items in order, and the bins."""
    bins = Bins(capacity)
    return place_rest(
        bins, zip(items.lengths[::-1].tolist(), items.counts[::-1].tolist(), _before(items), strict=True)
    ), bins


def place_rest(bins: Bins, runs: Iterable[tuple[int, int, int]]) -> list[Placement]:
    """Place ranges (length, items, first item), in descending order of length, into `bins` by best fit."""
    return [placement for length, items, item in runs for placement in bins.place(length, items, item=item)]


def _before(items: Histogram) -> list[int]:
    """Return the number of the first item of each length, in descending order of length."""
    counts = items.counts[::-1]
    first: list[int] = (np.cumsum(counts) - counts).tolist()
    return first


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def bins_lower_bound(items: Histogram, capacity: int) -> int:
    """Return a lower bound on the number of bins of any packing of the items, in exact integer arithmetic."""
    if not items.items:
        return 0
    lengths, counts = items
    return max(
        -(-items.tokens // _largest_sum(lengths, capacity)),
        _martello_toth(lengths, counts, capacity),
        _fekete_schepers(lengths, counts, capacity),
    )


def _largest_sum(lengths: Integers, capacity: int) -> int:
    """Return the largest sum of lengths, with repetition, up to the capacity. Bit i of `sums` means: i is reachable."""
    mask, sums = (1 << capacity + 1) - 1, 1
    for length in lengths.tolist():
        step = length
        while step <= capacity:
            sums |= sums << step & mask
            step *= 2
        if sums >> capacity:
            return capacity
    return sums.bit_length() - 1


def _martello_toth(lengths: Integers, counts: Integers, capacity: int) -> int:
    """Return the maximum of the bound L(a) over lengths a up to half a bin.

    Each item longer than half a bin needs a separate bin. Items of lengths a..half share these bins, except with items
    longer than capacity - a, and need more bins for what does not fit.
    """
    items = np.concatenate([[0], np.cumsum(counts)])
    tokens = np.concatenate([[0], np.cumsum(counts * lengths)])
    half = int(np.searchsorted(lengths, capacity // 2, side="right"))
    a = np.append(lengths[:half], capacity // 2 + 1)
    alone = np.maximum(np.searchsorted(lengths, capacity - a, side="right"), half)
    shared = (items[alone] - items[half]) * capacity - (tokens[alone] - tokens[half])
    rest = np.maximum(tokens[half] - tokens[: half + 1] - shared, 0)
    return int(np.max(items[-1] - items[half] + -(-rest // capacity)))


def _fekete_schepers(lengths: Integers, counts: Integers, capacity: int) -> int:
    """Return the maximum over k of the bound by u(k).

    An item of x = length/capacity has size x if (k+1)x is an integer, else floor((k+1)x)/k.
    """
    most = min(capacity // int(lengths[0]) + 1, _BOUND_WORK // len(lengths) + 1, _MAX_K)
    best = 0
    for k in range(1, most + 1):
        steps, left = np.divmod((k + 1) * lengths, capacity)
        whole = left == 0
        stepped, exact = int(steps[~whole] @ counts[~whole]), int(lengths[whole] @ counts[whole])
        best = max(best, -(-(stepped * capacity + exact * k) // (k * capacity)))
    return best
