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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from pipeline.bins import Bins, Integers, expand

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


def pack_by_patterns(lengths: Integers, capacity: int) -> tuple[Integers, Bins]:
    """Pack items of `lengths` [N], each in 1..capacity and given from long to short; as `bins.best_fit_decreasing`."""
    firsts = _classes(lengths)
    ends = np.append(firsts[1:], len(lengths))
    unit = -(-capacity * len(firsts) // _WORK)
    whole = capacity // unit  # what is longer by rounding alone has a bin to itself either way
    solution = solve(np.minimum(-(-lengths[firsts] // unit), whole), ends - firsts, whole)
    bin_of, after, count = np.full(len(lengths), -1, np.int64), firsts.copy(), 0
    for pattern, uses in zip(solution.patterns, np.floor(solution.uses + _CLOSE).astype(int).tolist(), strict=True):
        for i in np.flatnonzero(pattern).tolist():
            items = min(int(pattern[i]) * uses, int(ends[i] - after[i]))
            bin_of[after[i] : after[i] + items] = count + np.arange(items) % max(uses, 1)
            after[i] += items
        count += uses
    return _add_rest(lengths, bin_of, capacity)


def _add_rest(lengths: Integers, bin_of: Integers, capacity: int) -> tuple[Integers, Bins]:
    """Number the bins without gaps, and add the items that are in none (-1) by best fit."""
    inside, rest = np.flatnonzero(bin_of >= 0), np.flatnonzero(bin_of < 0)
    used, bin_of[inside] = np.unique(bin_of[inside], return_inverse=True)
    filled = np.bincount(bin_of[inside], lengths[inside], minlength=len(used))
    bins = Bins.of(capacity - filled.astype(np.int64), capacity)
    values, counts = np.unique(-lengths[rest], return_counts=True)
    placed = (bins.place(-value, items) for value, items in zip(values.tolist(), counts.tolist(), strict=True))
    bin_of[rest] = expand([placement for some in placed for placement in some])
    return bin_of, bins


def fewest_by_patterns(lengths: Integers, capacity: int) -> int:
    """Return a number of bins that no packing of items of `lengths` [N], from long to short, can go below."""
    firsts = _classes(lengths)
    ends = np.append(firsts[1:], len(lengths))
    unit = -(-capacity * len(firsts) // _WORK)
    shortest = lengths[ends - 1] // unit
    real = shortest > 0
    if not real.any():
        return 0
    bound = solve(shortest[real], (ends - firsts)[real], capacity // unit).bound
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


def _classes(lengths: Integers) -> Integers:
    """Return where in `lengths`, from long to short, each class begins; lengths within one differ as little as goes."""
    values, firsts = np.unique(-lengths, return_index=True)
    spread = 1
    while True:
        starts: list[int] = []
        at = 0
        while at < len(values) and len(starts) <= _CLASSES:
            starts.append(at)
            at = int(np.searchsorted(values, values[at] + spread))
        if len(starts) <= _CLASSES:
            return firsts[starts]
        spread = spread + -(-spread // 8)
