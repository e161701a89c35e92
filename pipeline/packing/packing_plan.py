"""The packing plan of a split: which sequence holds each item, and where texts are cut.

A packing plan is made from length histograms alone. It has about their size, and every worker receives it. Given the
rank of a document among all documents of its length, a worker looks up the sequences of the document locally
(`assign`).

1. Items, which cannot be cut (documents, and chunks of long videos), are packed by the algorithms in PACKERS, in order.
   The packing that needs the fewest sequences is used. Later packers, which are slower, run only if the number of
   sequences, including those for text, is more than 0.1 % above its lower bound.
2. Texts, in ascending order of length so that long ones remain contiguous, form one stream. The stream fills the free
   space of the bins, largest first, and then additional sequences. The position of a text in it follows from its length
   and rank. A cut at the end of free space can move back by up to `reach` tokens to the end of a sentence; the
   moved tokens go to the next chunk. `reach` tokens of each free space are reserved for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.packing.histogram_bins import (
    BinRange,
    Bins,
    Histogram,
    Integers,
    Placement,
    best_fit_decreasing,
    bins_lower_bound,
)
from pipeline.packing.patterns import pack_by_patterns, patterns_lower_bound
from schemas.errors import DatasetError

Packer = Callable[[Histogram, int], tuple[list[Placement], Bins]]
"""Packs items of lengths in 1..capacity, given as (items, capacity); returns placements that cover all items in order,
and the bins."""

PACKERS: tuple[Packer, ...] = (best_fit_decreasing, pack_by_patterns)
"""The packing algorithms, in the order in which they are tried; register another one here."""

_NEAR_OPTIMAL = 0.999  # no further packer is tried if lower bound / sequences is at least this


class Stream(NamedTuple):
    """Chunks [N] of texts: index of the text, start in the text, length, and bin."""

    text: Integers
    start: Integers
    length: Integers
    bin: Integers


@dataclass(frozen=True, eq=False)
class PackingPlan:
    """The bin of every item and text. Bins are numbered from 0 to `sequences` - 1, before they are shuffled."""

    reach: int
    sequences: int
    items: Histogram
    placements: Integers  # [P, 4] rows of `histogram_bins.Placement`, sorted
    texts: Histogram
    free_space: Integers  # [R, 3] rows of `histogram_bins.BinRange` in stream order, `reach` deducted from `room`

    @property
    def arrays(self) -> tuple[Integers, ...]:
        """All arrays of the plan, for its fingerprint."""
        return (*self.items, self.placements, *self.texts, self.free_space)

    def bins_of(self, length: Integers, rank: Integers) -> Integers:
        """Return the bin of each item [N], given its length and its rank among all items of that length."""
        if not len(length):
            return np.zeros(0, np.int64)
        counts = self.items.counts
        before = counts.sum() - np.cumsum(counts)  # number of longer items
        place = _indices(self.items, length, rank)
        item = before[place] + rank
        start, _, first, bins = self.placements.T
        p = np.searchsorted(start, item, side="right") - 1
        found: Integers = first[p] + (item - start[p]) % bins[p]
        return found

    def fill_free_space(self, length: Integers, rank: Integers) -> Stream:
        """Return the chunks of the texts of `length` [T] and `rank` [T], cut where free space ends."""
        if not len(length):
            return Stream(*(np.zeros(0, np.int64) for _ in range(4)))
        tokens = self.texts.lengths * self.texts.counts
        begin = (np.cumsum(tokens) - tokens)[_indices(self.texts, length, rank)] + rank * length
        room, first, count = self.free_space.T
        # Slots are the free spaces of single bins, numbered in stream order; `row` is the row of free_space of a slot.
        first_slot, first_token = (np.concatenate([[0], np.cumsum(x)]) for x in (count, room * count))

        def slot_at(position: Integers) -> Integers:
            row = np.searchsorted(first_token, position, side="right") - 1
            return first_slot[row] + (position - first_token[row]) // room[row]

        slot_of_text = slot_at(begin)
        chunks = slot_at(begin + length - 1) - slot_of_text + 1
        text = np.repeat(np.arange(len(length)), chunks)
        slot = np.repeat(slot_of_text - (np.cumsum(chunks) - chunks), chunks) + np.arange(chunks.sum())
        row = np.searchsorted(first_slot, slot, side="right") - 1
        slot_start = first_token[row] + (slot - first_slot[row]) * room[row]
        start = np.maximum(slot_start, begin[text])
        end = np.minimum(slot_start + room[row], (begin + length)[text])
        return Stream(text, start - begin[text], end - start, first[row] + slot - first_slot[row])


def make_packing_plan(
    items: Histogram, texts: Histogram, unsplittable: Histogram, *, context_length: int, reach: int
) -> tuple[PackingPlan, int]:
    """Return the packing plan, and a lower bound on the number of sequences of any packing.

    `items` are packed whole; `texts` can be cut at any token. The lower bound is that of packing `unsplittable`: the
    items, with the frames and text spans of long videos instead of the chunks that Longreel cuts these videos into.
    """
    text = texts.tokens
    lower_bound = max(-(-(items.tokens + text) // context_length), bins_lower_bound(unsplittable, context_length))
    best: tuple[int, list[Placement], Bins] | None = None
    for packer in PACKERS if items.items else PACKERS[:1]:
        placed, bins = packer(items, context_length)
        count = bins.count + _additional_bins(bins, text, reach)
        if best is None or count < best[0]:
            best = count, placed, bins
        if best[0] * _NEAR_OPTIMAL <= lower_bound:
            break
    else:
        lower_bound = max(lower_bound, patterns_lower_bound(unsplittable, context_length))
    assert best is not None  # PACKERS is not empty
    count, placed, bins = best
    free = [*_free_space(bins, reach), BinRange(context_length - reach, bins.count, count - bins.count)]
    return PackingPlan(
        reach=reach,
        sequences=count,
        items=items,
        placements=np.array(placed, np.int64).reshape(-1, 4),
        texts=texts,
        free_space=np.array([some for some in free if some.bins], np.int64).reshape(-1, 3),
    ), lower_bound


def _indices(histogram: Histogram, length: Integers, rank: Integers) -> Integers:
    """Return the index of each length in the histogram; raises DatasetError if a rank is not below its count."""
    place = np.minimum(np.searchsorted(histogram.lengths, length), len(histogram.lengths) - 1)
    known = len(histogram.lengths) > 0 and np.all(histogram.lengths[place] == length)
    if not known or np.any(rank >= histogram.counts[place]):
        raise DatasetError("the token store changed while it was packed; run `longreel pack` again")
    return place


def _free_space(bins: Bins, reach: int) -> list[BinRange]:
    """Return the free space available to texts, largest first; rooms of at most `reach` tokens stay empty."""
    return [BinRange(run.room - reach, run.first, run.bins) for run in bins.rooms() if run.room > reach]


def _additional_bins(bins: Bins, text: int, reach: int) -> int:
    """Return the number of sequences that `text` tokens need in addition to the free space of `bins`."""
    within = sum(run.room * run.bins for run in _free_space(bins, reach))
    return max(0, -(-(text - within) // (bins.capacity - reach)))
