"""The order in which a run uses sequences: a function of the seed and the number of the sample, in O(1) per sample.

Without weights, the sequences of all datasets are one source: a seeded permutation maps (epoch, index) to a sequence,
and every epoch has a different permutation. With weights, each dataset is a source with permutations of its own.

Which source a sample is of follows Webster's method of apportionment: draw c of a source with weight w is due at the
time (c + 1/2) / w, and draws are made in the order of these times. After any number of samples, each source has its
share of them, rounded (with many sources, up to a few samples more or less), and the method can start at any sample:
the number of draws before a time t is floor(w·t + 1/2). Times are exact fractions.

The weights are constant in a segment of the samples. A segment ends where the next mixture begins, or where a source
has been used for the permitted number of epochs; the other sources then share its weight.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import grain
import numpy as np
from numpy.typing import NDArray

_MOST_SEQUENCES = 1 << 52  # per source and run; Grain divides in float64, which is exact up to here


@dataclass(frozen=True)
class Segment:
    """Samples from `start` on, drawn from sources with whole-number `weights`, of which `used` draws were made."""

    start: int
    weights: tuple[int, ...]
    used: tuple[int, ...]

    def counts(self, samples: int) -> list[int]:
        """Return the number of draws of each source among the first `samples` of the segment."""
        counts, heap = self._near(samples)
        for _ in range(samples - sum(counts)):
            counts[self._pop(heap)] += 1
        return counts

    def draws(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield (source, number of the draw from it in the run) of the samples first..last-1 of the segment."""
        counts = self.counts(first)
        heap = self._heap(counts)
        for _ in range(last - first):
            source = self._pop(heap)
            yield source, self.used[source] + counts[source]
            counts[source] += 1

    def samples_until(self, source: int, draws: int) -> int:
        """Return the number of samples of the segment up to and including a draw of `source`, counted from 1."""
        due = Fraction(2 * draws - 1, 2 * self.weights[source])
        half = Fraction(1, 2)
        return sum(
            math.floor(w * due + half) if i <= source else math.ceil(w * due - half)
            for i, w in enumerate(self.weights)
            if w
        )

    def _near(self, samples: int) -> tuple[list[int], list[tuple[Fraction, int, int]]]:
        """Return the draws before a time when not more than `samples` are made, and the heap of the next ones."""
        at = max(Fraction(samples - len(self.weights), sum(self.weights)), Fraction(0))
        counts = [math.floor(w * at + Fraction(1, 2)) for w in self.weights]
        return counts, self._heap(counts)

    def _heap(self, counts: Sequence[int]) -> list[tuple[Fraction, int, int]]:
        heap = [
            (Fraction(2 * c + 1, 2 * w), i, c) for i, (w, c) in enumerate(zip(self.weights, counts, strict=True)) if w
        ]
        heapq.heapify(heap)
        return heap

    def _pop(self, heap: list[tuple[Fraction, int, int]]) -> int:
        _, source, count = heap[0]
        heapq.heapreplace(heap, (Fraction(2 * count + 3, 2 * self.weights[source]), source, count + 1))
        return source


class Order:
    """The sequences of a run's samples; see the module docstring.

    `length` is the number of samples until no source is left, None without a maximum of epochs; `exhausted` has
    (number of samples, source) of each source that reaches the maximum.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        seed: int,
        mixtures: Sequence[tuple[int, Sequence[Fraction]]] = (),
        max_epochs: int | None = None,
    ) -> None:
        """Order the sequences of datasets of these `sizes`; their indices follow one another.

        `mixtures` are (first sample, weights); none makes all datasets one source.
        """
        self.sizes = list(sizes) if mixtures else [sum(sizes)]
        self._firsts = [0, *itertools.accumulate(self.sizes)][:-1]
        seeds = [seed] if not mixtures else [_seed_of(seed, source) for source in range(len(self.sizes))]
        self._shuffled = [_shuffled(size, s) for size, s in zip(self.sizes, seeds, strict=True)]
        self._caps = None if max_epochs is None else [max_epochs * size for size in self.sizes]
        self.exhausted: list[tuple[int, int]] = []
        self.length: int | None = None
        self._segments = self._split(mixtures or [(0, [Fraction(1)])])

    def sequences(self, first: int, last: int) -> NDArray[np.int64]:
        """Return the indices of the sequences of the samples first..last-1."""
        found: list[int] = []
        while first < last:
            segment, end = self._segment(first)
            stop = min(last, end)
            for source, draw in segment.draws(first - segment.start, stop - segment.start):
                found.append(self._firsts[source] + int(self._shuffled[source][draw]))
            first = stop
        return np.array(found, np.int64)

    def used(self, samples: int) -> list[int]:
        """Return how many of the first `samples` are of each source."""
        segment, _ = self._segment(max(samples - 1, 0))
        within = segment.counts(samples - segment.start)
        return [before + count for before, count in zip(segment.used, within, strict=True)]

    def _segment(self, sample: int) -> tuple[Segment, int]:
        """Return the segment of a sample and the sample at which it ends."""
        if self.length is not None and sample >= self.length:
            raise IndexError(f"sample {sample} of {self.length}")
        ends = [segment.start for segment in self._segments[1:]] + [
            _MOST_SEQUENCES if self.length is None else self.length
        ]
        return next((s, end) for s, end in zip(self._segments, ends, strict=True) if sample < end)

    def _split(self, mixtures: Sequence[tuple[int, Sequence[Fraction]]]) -> list[Segment]:
        segments: list[Segment] = []
        starts = [start for start, _ in mixtures]
        used = [0] * len(self.sizes)
        for (start, weights), end in zip(mixtures, [*starts[1:], None], strict=True):
            while end is None or start < end:
                left = [w if self._is_left(i, used[i]) else Fraction(0) for i, w in enumerate(weights)]
                if not any(left):
                    self.length = start
                    return segments
                segment = Segment(start, _whole(left), tuple(used))
                segments.append(segment)
                stop = self._stop(segment, end)
                if stop is None:
                    return segments
                used = [a + b for a, b in zip(used, segment.counts(stop - start), strict=True)]
                start = stop
                self.exhausted += [(stop, i) for i, w in enumerate(left) if w and not self._is_left(i, used[i])]
        return segments

    def _is_left(self, source: int, used: int) -> bool:
        return self._caps is None or used < self._caps[source]

    def _stop(self, segment: Segment, end: int | None) -> int | None:
        """Return the sample before which a segment ends: of the next mixture, or where a source is exhausted."""
        stops = [] if end is None else [end]
        if self._caps is not None:
            left = [(i, self._caps[i] - segment.used[i]) for i, w in enumerate(segment.weights) if w]
            stops += [segment.start + segment.samples_until(i, draws) for i, draws in left]
        return min(stops, default=None)


def _shuffled(size: int, seed: int) -> grain.MapDataset[int]:
    # An unlimited repeat overflows Grain's length.
    return grain.MapDataset.range(size).shuffle(seed).repeat(_MOST_SEQUENCES // max(size, 1))


def _seed_of(seed: int, source: int) -> int:
    """Return a seed for each source, so that a dataset that is named twice has two orders."""
    return int(np.random.SeedSequence((seed, source)).generate_state(1)[0])


def _whole(weights: Sequence[Fraction]) -> tuple[int, ...]:
    """Return the smallest whole numbers in the same proportions."""
    scale = math.lcm(*(w.denominator for w in weights))
    whole = [int(w * scale) for w in weights]
    return tuple(w // math.gcd(*whole) for w in whole)
