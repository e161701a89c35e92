"""Best-fit-decreasing bin packing on a histogram of lengths, and how few bins any packing could need.

Documents of one length are interchangeable, and so are bins with the same room left: lengths are taken from long to
short, and a whole run of equal bins is filled at once with `room // length` items each, which is what placing the
items one by one in the fullest bin that takes them comes to. The cost follows the number of distinct lengths and
rooms, not the number of documents: 10^9 clips of 100 lengths take milliseconds. What comes out is as short: a
placement says of a run of items in which run of bins they lie. Rooms are found in a bitmap of two levels, a few
operations on integers whatever the capacity.

Best-fit-decreasing: Johnson, Demers, Ullman, Garey and Graham, SIAM J. Comput. 3 (1974). Lower bounds: L2 of Martello
and Toth, Discrete Appl. Math. 28 (1990); the dual feasible functions u(k) of Fekete and Schepers, Math. Program. 91
(2001), which see that frames of 257 tokens fill at most 15 places of 4,096; and the largest reachable sum of lengths.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
_WORD = 1024  # rooms in one word of the bitmap
_MOST_K = 4096  # u(k) differs from x by less than 1/k: larger k no longer matter
_BOUND_WORK = 20_000_000  # evaluations of u(k) that a bound may cost: about a second


class Histogram(NamedTuple):
    """How many there are of each length: `lengths` [D] from short to long, `counts` [D] of at least 1."""

    lengths: Integers
    counts: Integers

    @classmethod
    def of(cls, lengths: Integers) -> Histogram:
        """Count `lengths` [N]."""
        values, counts = np.unique(np.asarray(lengths, np.int64), return_counts=True)
        return cls(values, counts.astype(np.int64))

    @classmethod
    def sum(cls, some: Iterable[Histogram]) -> Histogram:
        """Add histograms up."""
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
        """Sum of their lengths."""
        return int(self.lengths @ self.counts)


class Placement(NamedTuple):
    """Items from number `item` on are dealt in turn to `bins` bins: the j-th lies in bin `first` + j % `bins`.

    Items are numbered from long to short.
    """

    item: int
    items: int
    first: int
    bins: int


class Run(NamedTuple):
    """`bins` bins numbered from `first`, each with `room` left."""

    room: int
    first: int
    bins: int


class Bins:
    """Bins of one capacity, numbered as they are opened, kept as runs of equal room."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        self._runs: defaultdict[int, deque[tuple[int, int]]] = defaultdict(deque)  # room -> runs (first, bins)
        self._words: defaultdict[int, int] = defaultdict(int)  # bit `room % _WORD` of word `room // _WORD`
        self._summary = 0  # bit w: word w is not 0

    def open(self, run: Run) -> None:
        """Add bins, numbered on from those there are, with this room left."""
        assert run.first == self.count
        self.count += run.bins
        self._put(*run)

    def place(self, length: int, items: int, *, item: int) -> list[Placement]:
        """Put `items` items of `length`, numbered from `item`, where best fit puts them one by one."""
        placed = []
        while items:
            room = self.snuggest(length)
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

    def snuggest(self, length: int) -> int | None:
        """Return the smallest room that takes `length`, or None."""
        high, low = divmod(length, _WORD)
        if word := self._words[high] >> low:
            return length + _lowest(word)
        if not (words := self._summary >> (high + 1)):
            return None
        high += 1 + _lowest(words)
        return high * _WORD + _lowest(self._words[high])

    def rooms(self) -> list[Run]:
        """Return the bins that have room left, the roomiest first."""
        runs = [Run(room, *run) for room, some in self._runs.items() for run in some]
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
    """Pack items of lengths in 1..capacity. Returns placements that cover all items in order, and the bins."""
    bins = Bins(capacity)
    return place_rest(
        bins, zip(items.lengths[::-1].tolist(), items.counts[::-1].tolist(), _before(items), strict=True)
    ), bins


def place_rest(bins: Bins, runs: Iterable[tuple[int, int, int]]) -> list[Placement]:
    """Put runs (length, items, first item), from long to short, into `bins` by best fit."""
    return [placement for length, items, item in runs for placement in bins.place(length, items, item=item)]


def _before(items: Histogram) -> list[int]:
    """Return the first item of every length, from long to short."""
    counts = items.counts[::-1]
    first: list[int] = (np.cumsum(counts) - counts).tolist()
    return first


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def fewest_bins(items: Histogram, capacity: int) -> int:
    """Return a number of bins that no packing of the items can go below; exact arithmetic."""
    if not items.items:
        return 0
    lengths, counts = items
    return max(
        -(-items.tokens // _largest_sum(lengths, capacity)),
        _martello_toth(lengths, counts, capacity),
        _fekete_schepers(lengths, counts, capacity),
    )


def _largest_sum(lengths: Integers, capacity: int) -> int:
    """Return the largest sum, up to the capacity, of any numbers of the lengths. Bit i of `sums`: i is reachable."""
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
    """Return the largest L(a) over lengths a up to half a bin.

    Items above half a bin need one each; those of a..half that do not fit beside them need more; and beside an item
    above capacity - a none of these fits.
    """
    items = np.concatenate([[0], np.cumsum(counts)])
    tokens = np.concatenate([[0], np.cumsum(counts * lengths)])
    half = int(np.searchsorted(lengths, capacity // 2, side="right"))
    a = np.append(lengths[:half], capacity // 2 + 1)
    alone = np.maximum(np.searchsorted(lengths, capacity - a, side="right"), half)
    beside = (items[alone] - items[half]) * capacity - (tokens[alone] - tokens[half])
    rest = np.maximum(tokens[half] - tokens[: half + 1] - beside, 0)
    return int(np.max(items[-1] - items[half] + -(-rest // capacity)))


def _fekete_schepers(lengths: Integers, counts: Integers, capacity: int) -> int:
    """Return the largest bound of u(k): x = length/capacity counts floor((k+1)x)/k, or x where (k+1)x is whole."""
    most = min(capacity // int(lengths[0]) + 1, _BOUND_WORK // len(lengths) + 1, _MOST_K)
    best = 0
    for k in range(1, most + 1):
        steps, left = np.divmod((k + 1) * lengths, capacity)
        whole = left == 0
        stepped, exact = int(steps[~whole] @ counts[~whole]), int(lengths[whole] @ counts[whole])
        best = max(best, -(-(stepped * capacity + exact * k) // (k * capacity)))
    return best
