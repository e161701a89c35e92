"""The packing plan of a split: which sequence holds the r-th item of a length, and where the text stream is cut.

A packing plan is made from length histograms alone, and is as short as they are; every worker receives it. A worker that
knows the rank of its documents among all of their length then finds their sequences by itself (`assign`).

1. Items, which cannot be cut (whole documents, and chunks of long videos), are packed by best-fit-decreasing (`bins`).
   Where text cannot fill what that leaves and it is more than 0.1 % from a lower bound, packing by patterns is tried
   as well (`patterns`), and the better is kept.
2. Books, the short ones first so that long ones stay long, are one stream, filled into the gaps that are left, the
   widest first, and on into sequences of their own. A book's place in the stream follows from its length and rank.
   The cut at the end of a gap may move back by up to `reach` tokens, to the end of a sentence; what it takes with it
   begins the next gap. So that there is room for it, `reach` places of each gap are left out of the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.packing.histogram_bins import Bins, Histogram, Integers, Placement, Run, best_fit_decreasing, fewest_bins
from pipeline.packing.patterns import fewest_by_patterns, pack_by_patterns
from schemas.errors import DatasetError

_GOOD = 0.999  # of the best that could be: no more is tried


class Stream(NamedTuple):
    """Chunks of texts, each [N]: which text, from where in it, how long, and in which bin."""

    text: Integers
    start: Integers
    length: Integers
    bin: Integers


@dataclass(frozen=True, eq=False)
class PackingPlan:
    """Where everything lies. Bins are numbered from 0 to `sequences` - 1, in no order that matters."""

    reach: int
    sequences: int
    items: Histogram
    placements: Integers  # [P, 4] rows of `bins.Placement`, sorted
    texts: Histogram
    gaps: Integers  # [R, 3] rows of `bins.Run`: rooms as the stream sees them, in its order

    @property
    def arrays(self) -> tuple[Integers, ...]:
        """All its arrays."""
        return (*self.items, self.placements, *self.texts, self.gaps)

    def bins_of(self, length: Integers, rank: Integers) -> Integers:
        """Return the bin [N] of the items of `length` [N] that have `rank` [N] among all of that length."""
        if not len(length):
            return np.zeros(0, np.int64)
        counts = self.items.counts
        before = counts.sum() - np.cumsum(counts)  # items that are longer
        place = _places(self.items, length, rank)
        item = before[place] + rank
        start, _, first, bins = self.placements.T
        p = np.searchsorted(start, item, side="right") - 1
        found: Integers = first[p] + (item - start[p]) % bins[p]
        return found

    def fill_free_space(self, length: Integers, rank: Integers) -> Stream:
        """Cut texts of `length` [T] and `rank` [T] where the gaps of the stream end."""
        if not len(length):
            return Stream(*(np.zeros(0, np.int64) for _ in range(4)))
        tokens = self.texts.lengths * self.texts.counts
        begin = (np.cumsum(tokens) - tokens)[_places(self.texts, length, rank)] + rank * length
        room, first, count = self.gaps.T
        gap_base, at_base = (np.concatenate([[0], np.cumsum(x)]) for x in (count, room * count))

        def gap_at(position: Integers) -> Integers:
            run = np.searchsorted(at_base, position, side="right") - 1
            return gap_base[run] + (position - at_base[run]) // room[run]

        first_gap = gap_at(begin)
        chunks = gap_at(begin + length - 1) - first_gap + 1
        text = np.repeat(np.arange(len(length)), chunks)
        gap = np.repeat(first_gap - (np.cumsum(chunks) - chunks), chunks) + np.arange(chunks.sum())
        run = np.searchsorted(gap_base, gap, side="right") - 1
        gap_start = at_base[run] + (gap - gap_base[run]) * room[run]
        start = np.maximum(gap_start, begin[text])
        end = np.minimum(gap_start + room[run], (begin + length)[text])
        return Stream(text, start - begin[text], end - start, first[run] + gap - gap_base[run])


def make_packing_plan(
    items: Histogram, texts: Histogram, unsplittable: Histogram, *, context_length: int, reach: int
) -> tuple[PackingPlan, int]:
    """Return the packing plan, and a number of sequences that no packing can go below.

    `items` cannot be cut; `texts` can, anywhere. `unsplittable` are what bounds the packing from below: items, but of long
    videos each frame and text.
    """
    text = texts.tokens
    fewest = max(-(-(items.tokens + text) // context_length), fewest_bins(unsplittable, context_length))
    best: tuple[int, list[Placement], Bins] | None = None
    packers: tuple[Callable[[Histogram, int], tuple[list[Placement], Bins]], ...] = (
        best_fit_decreasing,
        pack_by_patterns,
    )
    for packer in packers if items.items else (best_fit_decreasing,):
        placed, bins = packer(items, context_length)
        count = bins.count + _own(bins, text, reach)
        if best is None or count < best[0]:
            best = count, placed, bins
        if best[0] * _GOOD <= fewest:
            break
    else:
        fewest = max(fewest, fewest_by_patterns(unsplittable, context_length))
    assert best is not None  # there is always a packer
    count, placed, bins = best
    gaps = [*_gaps(bins, reach), Run(context_length - reach, bins.count, count - bins.count)]
    return PackingPlan(
        reach=reach,
        sequences=count,
        items=items,
        placements=np.array(placed, np.int64).reshape(-1, 4),
        texts=texts,
        gaps=np.array([gap for gap in gaps if gap.bins], np.int64).reshape(-1, 3),
    ), fewest


def _places(histogram: Histogram, length: Integers, rank: Integers) -> Integers:
    """Return where in the histogram each length stands; raises DatasetError where it does not know of that many."""
    place = np.minimum(np.searchsorted(histogram.lengths, length), len(histogram.lengths) - 1)
    known = len(histogram.lengths) > 0 and np.all(histogram.lengths[place] == length)
    if not known or np.any(rank >= histogram.counts[place]):
        raise DatasetError("the token store changed while it was packed; run `longreel pack` again")
    return place


def _gaps(bins: Bins, reach: int) -> list[Run]:
    """Return the gaps as the text stream sees them; those of at most `reach` places stay empty."""
    return [Run(run.room - reach, run.first, run.bins) for run in bins.rooms() if run.room > reach]


def _own(bins: Bins, text: int, reach: int) -> int:
    """Return how many sequences `text` tokens need beside the gaps that are left in `bins`."""
    within = sum(run.room * run.bins for run in _gaps(bins, reach))
    return max(0, -(-(text - within) // (bins.capacity - reach)))
