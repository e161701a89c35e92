"""Best-fit-decreasing bin packing on a histogram of lengths, and how few bins any packing could need.

Documents of one length are interchangeable, and so are bins with the same room left: lengths are taken from long to
short, and a whole run of equal bins is filled at once with `room // length` items each, which is what placing the
items one by one in the fullest bin that takes them comes to. The cost follows the number of distinct lengths and
rooms, not the number of documents: 10^9 clips of 100 lengths take milliseconds. Rooms are found in a bitmap of two
levels, a few operations on integers whatever the capacity.

Best-fit-decreasing: Johnson, Demers, Ullman, Garey and Graham, SIAM J. Comput. 3 (1974). Lower bounds: L2 of Martello
and Toth, Discrete Appl. Math. 28 (1990); the dual feasible functions u(k) of Fekete and Schepers, Math. Program. 91
(2001), which see that frames of 257 tokens fill at most 15 places of 4,096; and the largest reachable sum of lengths.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
_WORD = 1024  # rooms in one word of the bitmap
_MOST_K = 4096  # u(k) differs from x by less than 1/k: larger k no longer matter
_BOUND_WORK = 20_000_000  # evaluations of u(k) that a bound may cost: about a second


class Placement(NamedTuple):
    """`each` items of one length in every one of `bins` bins, numbered from `first`."""

    first: int
    bins: int
    each: int


class Bins:
    """Bins of one capacity, numbered as they are opened, kept as runs of equal room."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        self._runs: defaultdict[int, deque[tuple[int, int]]] = defaultdict(deque)  # room -> runs (first, bins)
        self._words: defaultdict[int, int] = defaultdict(int)  # bit `room % _WORD` of word `room // _WORD`
        self._summary = 0  # bit w: word w is not 0

    @classmethod
    def of(cls, rooms: Integers, capacity: int) -> Bins:
        """Return bins of which some are open, with `rooms` left."""
        bins = cls(capacity)
        bins.count = len(rooms)
        for number, room in enumerate(rooms.tolist()):
            bins._put(room, number, 1)
        return bins

    def place(self, length: int, items: int) -> list[Placement]:
        """Put `items` items of `length` where best fit puts them one by one, opening bins as needed."""
        placed = []
        while items:
            room = self.snuggest(length)
            if room is None:
                room = self.capacity
                first, bins = self._open(max(1, items // (room // length)))
            else:
                first, bins = self._take(room)
            each = min(room // length, items)
            filled = min(bins, items // each)
            placed.append(Placement(first, filled, each))
            self._put(room - each * length, first, filled)
            self._put(room, first + filled, bins - filled)
            items -= filled * each
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

    def roomiest(self) -> int:
        """Return the largest room there is; 0 where every bin is full."""
        high = self._summary.bit_length() - 1
        return high * _WORD + self._words[high].bit_length() - 1 if high >= 0 else 0

    def put_one(self, room: int, length: int) -> int:
        """Put one item of `length` in a bin with just `room` left, and return the bin."""
        first, bins = self._take(room)
        self._put(room, first + 1, bins - 1)
        self._put(room - length, first, 1)
        return first

    def rooms(self) -> Integers:
        """Return the room left in every bin [count]."""
        rooms = np.zeros(self.count, np.int64)
        for room, runs in self._runs.items():
            for first, bins in runs:
                rooms[first : first + bins] = room
        return rooms

    def _open(self, bins: int) -> tuple[int, int]:
        first, self.count = self.count, self.count + bins
        return first, bins

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


def best_fit_decreasing(lengths: Integers, capacity: int) -> tuple[Integers, Bins]:
    """Pack items of `lengths` [N], each in 1..capacity and given from long to short.

    Returns the bin of every item [N], and the bins. Items of equal length fill bins in the order they are given in.
    """
    bins = Bins(capacity)
    placed: list[Placement] = []
    values, counts = np.unique(lengths, return_counts=True)
    for length, items in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        placed += bins.place(length, items)
    return expand(placed), bins


def expand(placed: list[Placement]) -> Integers:
    """Return the bin of every item that was placed, in order."""
    first, bins, each = np.array(placed, np.int64).reshape(-1, 3).T
    items = bins * each
    within = np.arange(items.sum()) - np.repeat(np.cumsum(items) - items, items)
    return np.repeat(first, items) + within // np.repeat(each, items)


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def fewest_bins(lengths: Integers, capacity: int) -> int:
    """Return a number of bins that no packing of items of `lengths` [N] can go below; exact arithmetic."""
    if not len(lengths):
        return 0
    values, counts = np.unique(lengths, return_counts=True)
    return max(
        -(-int(values @ counts) // _largest_sum(values, capacity)),
        _martello_toth(values, counts, capacity),
        _fekete_schepers(values, counts, capacity),
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
