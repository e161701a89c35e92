"""Packing by patterns: which combinations of lengths fill a bin, and how often to use each.

Best-fit-decreasing is poor where few lengths make up a bin: clips of 9 to 12 frames in a context of 31 become pairs of
12 with a third of the bin empty, though 12 + 10 + 9 would fill it. This is the cutting-stock problem, solved by column
generation: a linear program (HiGHS, by SciPy) chooses among the patterns known, its dual prices value the lengths, and
a knapsack over these values finds the pattern to add, until none is worth more than a bin. The program's solution is
rounded down, and what is left over goes in by best fit. Gilmore and Gomory, Operations Research 9 (1961) and 11 (1963).

Its prices also bound from below what any packing needs: Farley, Operations Research 38 (1990).

Lengths are grouped into at most 96 classes and measured in units of 1/16384 of the capacity, finer where there are
fewer classes: rounded up for a packing, which is what it may lose against the best, rounded down for the bound. So it
is at its best where lengths are few, or a bin holds few of them. It takes seconds, whatever the number of documents.

The last digits of a linear program may differ from one processor to another, and with them which of several equally
good packings is found; a plan's fingerprint therefore holds the plan itself (`packing`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from pipeline.packing.histogram_bins import Bins, Histogram, Integers, Placement, Run, place_rest

Floats = NDArray[np.float64]
_CLASSES = 96
_WORK = _CLASSES << 14  # classes times units, which is what a knapsack costs
_ROUNDS = 300
_CLOSE = 1e-5  # how near to its bound the program is solved


class Solution(NamedTuple):
    """How often [P] each pattern [P, D] is used, as fractions, and a number of bins that nothing goes below."""

    patterns: Integers
    uses: Floats
    bound: float


class _Classes(NamedTuple):
    """Items in groups of like length, and the groups' longest and shortest lengths in units; all [G]."""

    first: Integers  # item, as `bins.Placement` numbers them
    items: Integers
    longest: Integers
    shortest: Integers
    units: int  # in a bin


def pack_by_patterns(items: Histogram, capacity: int) -> tuple[list[Placement], Bins]:
    """Pack items of lengths in 1..capacity; as `bins.best_fit_decreasing`."""
    classes = _classes(items, capacity)
    solution = solve(classes.longest, classes.items, classes.units)
    ends = np.cumsum(items.counts[::-1])  # of each length's items, from long to short
    lengths = items.lengths[::-1]
    bins, placed, taken = Bins(capacity), list[Placement](), classes.first.copy()
    left = classes.first + classes.items
    for pattern, wanted in zip(solution.patterns, np.floor(solution.uses + _CLOSE).astype(int).tolist(), strict=True):
        some = np.flatnonzero(pattern)
        uses = min(wanted, int((left - taken)[some].max(initial=0)))  # so that no bin stays empty
        if not uses:
            continue
        dealt = [
            Placement(int(taken[i]), min(int(pattern[i]) * uses, int(left[i] - taken[i])), bins.count, uses)
            for i in some.tolist()
            if left[i] > taken[i]
        ]
        for placement in dealt:
            taken[np.searchsorted(classes.first, placement.item, side="right") - 1] += placement.items
        for run in _rooms_of(dealt, lengths, ends, capacity):
            bins.open(run)
        placed += dealt
    placed += place_rest(bins, _untaken(taken, left, lengths, ends))
    return sorted(placed), bins


def _rooms_of(dealt: list[Placement], lengths: Integers, ends: Integers, capacity: int) -> Iterator[Run]:
    """Yield the room that is left in the bins to which all of `dealt` go; each gets its items from long to short."""
    first, uses = dealt[0].first, dealt[0].bins
    edges = {0, uses}
    for p in dealt:
        inside = ends[(ends > p.item) & (ends < p.item + p.items)]
        edges |= {p.items % uses, *((inside - p.item) % uses).tolist()}
    starts = np.array(sorted(edges)[:-1])
    filled = np.zeros(len(starts), np.int64)
    for p in dealt:
        for round_start in range(0, p.items, uses):
            item = round_start + starts
            length = lengths[np.searchsorted(ends, np.minimum(p.item + item, ends[-1] - 1), side="right")]
            filled += np.where(item < p.items, length, 0)
    for start, end, tokens in zip(starts.tolist(), [*starts[1:].tolist(), uses], filled.tolist(), strict=True):
        yield Run(capacity - tokens, first + start, end - start)


def _untaken(taken: Integers, left: Integers, lengths: Integers, ends: Integers) -> Iterator[tuple[int, int, int]]:
    """Yield the runs (length, items, first item) of items taken[i]..left[i], from long to short."""
    for start, stop in zip(taken.tolist(), left.tolist(), strict=True):
        while start < stop:
            i = int(np.searchsorted(ends, start, side="right"))
            end = min(stop, int(ends[i]))
            yield int(lengths[i]), end - start, start
            start = end


def fewest_by_patterns(items: Histogram, capacity: int) -> int:
    """Return a number of bins that no packing of the items can go below."""
    if not items.items:
        return 0
    classes = _classes(items, capacity)
    real = classes.shortest > 0
    if not real.any():
        return 0
    bound = solve(classes.shortest[real], classes.items[real], classes.units).bound
    return math.ceil(bound * (1 - 1e-9) - 1e-6)  # less what the arithmetic may be off by


def solve(lengths: Integers, counts: Integers, capacity: int) -> Solution:
    """Solve the linear program for `counts` items of `lengths` [D], each in 1..capacity."""
    patterns = np.diag(np.minimum(capacity // lengths, counts))
    uses, bound = counts / np.diag(patterns), 0.0
    for _ in range(_ROUNDS):
        solved = linprog(np.ones(len(patterns)), A_ub=-patterns.T, b_ub=-counts, method="highs")
        if not solved.success:
            break
        uses = solved.x
        pattern, worth = _knapsack(-solved.ineqlin.marginals, lengths, counts, capacity)
        bound = max(bound, solved.fun / max(1.0, worth))
        if solved.fun - bound <= _CLOSE * solved.fun:
            break
        patterns = np.vstack([patterns, pattern])
    return Solution(patterns[: len(uses)], uses, bound)


def _knapsack(values: Floats, lengths: Integers, counts: Integers, capacity: int) -> tuple[Integers, float]:
    """Return the pattern [D] of the greatest worth, and its worth. Lots of 1, 2, 4 … of a length are taken or not."""
    best = np.zeros(capacity + 1)
    lots: list[tuple[int, int, NDArray[np.bool_]]] = []
    for i, length in enumerate(lengths.tolist()):
        most, lot = min(capacity // length, int(counts[i])), 1
        while most > 0 and values[i] > 0:
            lot = min(lot, most)
            size = lot * length
            with_lot = best[: capacity + 1 - size] + lot * values[i]
            taken = with_lot > best[size:]
            best[size:] = np.where(taken, with_lot, best[size:])
            lots.append((i, lot, taken))
            most, lot = most - lot, 2 * lot
    pattern, room = np.zeros(len(lengths), np.int64), int(np.argmax(best))
    for i, lot, taken in reversed(lots):
        size = lot * int(lengths[i])
        if room >= size and taken[room - size]:
            pattern[i] += lot
            room -= size
    return pattern, float(best.max())


def _classes(items: Histogram, capacity: int) -> _Classes:
    """Group the lengths, from long to short, so that lengths within a group differ as little as goes."""
    lengths, counts = items.lengths[::-1], items.counts[::-1]
    starts = _starts(-lengths)
    ends = np.append(starts[1:], len(lengths))
    before = np.concatenate([[0], np.cumsum(counts)])
    unit = -(-capacity * len(starts) // _WORK)
    whole = capacity // unit  # what is longer by rounding alone has a bin to itself either way
    return _Classes(
        first=before[starts],
        items=before[ends] - before[starts],
        longest=np.minimum(-(-lengths[starts] // unit), whole),
        shortest=lengths[ends - 1] // unit,
        units=whole,
    )


def _starts(values: Integers) -> Integers:
    """Return where in the rising `values` [D] each of at most _CLASSES groups begins."""
    spread = 1
    while True:
        starts: list[int] = []
        at = 0
        while at < len(values) and len(starts) <= _CLASSES:
            starts.append(at)
            at = int(np.searchsorted(values, values[at] + spread))
        if len(starts) <= _CLASSES:
            return np.array(starts, np.int64)
        spread = spread + -(-spread // 8)
