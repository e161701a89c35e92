"""Bin packing by cutting-stock patterns: combinations of lengths that fill a bin, and how often to use each.

Best-fit-decreasing is far from optimal if few items fill a bin: clips of 9 to 12 frames in a context of 31 become pairs
of 12 that leave a quarter of the bin empty, although 12 + 10 + 9 fill it. This module solves the cutting-stock problem
by column generation. A linear program (HiGHS in SciPy) selects among the known patterns, its dual prices assign a value
to each length, and a knapsack over these values finds the next pattern, until no pattern is worth more than a bin. The
solution is rounded down, and the remaining items are placed by best fit. Gilmore and Gomory, Operations Research 9
(1961) and 11 (1963).

The dual prices also give a lower bound on the number of bins: Farley, Operations Research 38 (1990).

Lengths are grouped into at most 96 classes and measured in units of 1/16384 of the capacity, or smaller units for fewer
classes. They are rounded up for a packing, which limits how close it comes to the optimum, and down for the bound. The
method works best for few distinct lengths or few items per bin. It takes seconds for any number of documents.

The last digits of the solution of a linear program can differ between processors, and so can the choice among equally
good packings. The fingerprint of a dataset plan therefore includes the packing plans.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.packing.histogram_bins import BinRange, Bins, Histogram, Integers, Placement, place_rest

Floats = NDArray[np.float64]
_CLASSES = 96
_WORK = _CLASSES << 14  # classes * units, the cost of a knapsack
_MAX_ITERATIONS = 300
_TOLERANCE = 1e-5  # relative gap between the solution and its lower bound


class Solution(NamedTuple):
    """Patterns [P, D], fractional numbers `uses` [P] of bins that use each, and a lower bound on the number of bins."""

    patterns: Integers
    uses: Floats
    bound: float


class _Classes(NamedTuple):
    """Items grouped by similar length, and the longest and shortest length of each group in units; all [G]."""

    first: Integers  # number of the first item, see `histogram_bins.Placement`
    items: Integers
    longest: Integers
    shortest: Integers
    units: int  # capacity of a bin


def pack_by_patterns(items: Histogram, capacity: int) -> tuple[list[Placement], Bins]:
    """Pack items of lengths in 1..capacity; same interface as `histogram_bins.best_fit_decreasing`."""
    classes = _classes(items, capacity)
    solution = solve(classes.longest, classes.items, classes.units)
    ends = np.cumsum(items.counts[::-1])  # end of each length's range of items, in descending order of length
    lengths = items.lengths[::-1]
    bins, placed, taken = Bins(capacity), list[Placement](), classes.first.copy()
    left = classes.first + classes.items
    for pattern, wanted in zip(
        solution.patterns, np.floor(solution.uses + _TOLERANCE).astype(int).tolist(), strict=True
    ):
        some = np.flatnonzero(pattern)
        uses = min(wanted, int((left - taken)[some].max(initial=0)))  # no bin stays empty
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


def _rooms_of(dealt: list[Placement], lengths: Integers, ends: Integers, capacity: int) -> Iterator[BinRange]:
    """Yield the ranges of equal room among the bins that receive the placements `dealt`, which share the same bins."""
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
        yield BinRange(capacity - tokens, first + start, end - start)


def _untaken(taken: Integers, left: Integers, lengths: Integers, ends: Integers) -> Iterator[tuple[int, int, int]]:
    """Yield ranges (length, items, first item) of the items taken[i]..left[i] - 1, in descending order of length."""
    for start, stop in zip(taken.tolist(), left.tolist(), strict=True):
        while start < stop:
            i = int(np.searchsorted(ends, start, side="right"))
            end = min(stop, int(ends[i]))
            yield int(lengths[i]), end - start, start
            start = end


def patterns_lower_bound(items: Histogram, capacity: int) -> int:
    """Return a lower bound on the number of bins of any packing of the items."""
    if not items.items:
        return 0
    classes = _classes(items, capacity)
    nonzero = classes.shortest > 0
    if not nonzero.any():
        return 0
    bound = solve(classes.shortest[nonzero], classes.items[nonzero], classes.units).bound
    return math.ceil(bound * (1 - 1e-9) - 1e-6)  # allows for rounding errors of the solver


def solve(lengths: Integers, counts: Integers, capacity: int) -> Solution:
    """Solve the linear program for `counts` [D] items of `lengths` [D], each in 1..capacity."""
    from scipy.optimize import linprog  # half a second that most commands need not wait for

    patterns = np.diag(np.minimum(capacity // lengths, counts))
    uses, bound = counts / np.diag(patterns), 0.0
    for _ in range(_MAX_ITERATIONS):
        solved = linprog(np.ones(len(patterns)), A_ub=-patterns.T, b_ub=-counts, method="highs")
        if not solved.success:
            break
        uses = solved.x
        pattern, worth = _knapsack(-solved.ineqlin.marginals, lengths, counts, capacity)
        bound = max(bound, solved.fun / max(1.0, worth))
        if solved.fun - bound <= _TOLERANCE * solved.fun:
            break
        patterns = np.vstack([patterns, pattern])
    return Solution(patterns[: len(uses)], uses, bound)


def _knapsack(values: Floats, lengths: Integers, counts: Integers, capacity: int) -> tuple[Integers, float]:
    """Return the pattern [D] of maximum value, and its value; dynamic programming over lots of 1, 2, 4, … items."""
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
    """Group the lengths, in descending order, into at most _CLASSES ranges of the smallest possible spread."""
    lengths, counts = items.lengths[::-1], items.counts[::-1]
    starts = _starts(-lengths)
    ends = np.append(starts[1:], len(lengths))
    before = np.concatenate([[0], np.cumsum(counts)])
    unit = -(-capacity * len(starts) // _WORK)
    whole = capacity // unit  # lengths that exceed it only by rounding fill a bin alone in any case
    return _Classes(
        first=before[starts],
        items=before[ends] - before[starts],
        longest=np.minimum(-(-lengths[starts] // unit), whole),
        shortest=lengths[ends - 1] // unit,
        units=whole,
    )


def _starts(values: Integers) -> Integers:
    """Return the start index of each of at most _CLASSES groups in the ascending `values` [D]."""
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
