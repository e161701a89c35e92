"""How videos, and images, are found alike by their frames.

Keys come from `frame_keys`. A comparison begins with the window: a copy may show a part of the picture only, or have a
logo, and then its middle is what agrees best. Then offsets in time are tried (`frame_align`). At an offset, two things
must agree. The pictures (correlation), and what *changes* in them: from each picture the mean of its neighbors in time
is taken away, and what is left must correlate, too. Two takes of one scene, or two parts of an interview, agree in the
first and not in the second; a logo disturbs the first a little and the second hardly. Where nothing changes at all, the
pictures must be the same. This is asked of each sample with its neighbors, which makes ranges, and again of each range
as a whole.

What agrees at one offset is a range; the search goes on with what is left, so a shared intro and a shared end are two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.frame_alignment import in_one_window, in_one_window_or_the_middle, likely_offsets
from pipeline.dedup.frame_keys import bits_for, sign_keys
from pipeline.dedup.frame_runs import AROUND, Floats, Overlay, Run, lay_over, mean_around
from pipeline.dedup.similarity import Range, Shared, Signature
from pipeline.video.analysis.frame_signature import is_flat, signature_pictures

_STEP_S = 0.25  # by which an offset is tried before and after the best one, then half of it
_SURE = 0.95  # of the highest score that there can be: no other offset is tried
_GAP = 2  # samples that may disagree within a range
_RANGES = 6


@dataclass(frozen=True, kw_only=True)
class VideoSimilarity:
    """Finds videos alike. The numbers are those of benchmarks/near_duplicates.py; all of them decide what is found."""

    version: int = 2
    min_collisions: int = (
        2  # keys in common, of two samples of each: one picture of a large corpus is like many by chance
    )
    sufficient_collisions: int = 8  # keys in common that are no chance, of whatever samples
    tables: int = 4
    bits: int = 28  # signs that a key takes; more among many items (`frame_keys.bits_for`)
    picture: float = 0.8  # least correlation of pictures
    change: float = 0.6  # least correlation of what changes around a sample
    whole_change: float = 0.7  # and of what changes in a range
    still: float = 1e-3  # energy of what changes, of that of the picture, below which nothing does
    still_picture: float = 0.985  # least correlation of pictures where nothing changes
    seconds: float = 1.5  # least that is shared

    def scaled_to(self, items: int) -> VideoSimilarity:
        """Return it with keys of more signs, where there are many items; see pipeline.dedup.similarity.Similarity."""
        return replace(self, bits=bits_for(self.bits, items))

    def hash_keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return keys [m, 8 * tables] of the m samples that are not flat; see pipeline.dedup.similarity.Similarity."""
        pictures = signature_pictures(signature.samples)
        return sign_keys(pictures[~is_flat(pictures)], tables=self.tables, bits=self.bits)

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return what two videos share; see pipeline.dedup.similarity.Similarity."""
        if not len(a.samples) or not len(b.samples):
            return None
        if (len(b.samples), b.samples) < (len(a.samples), a.samples):  # the same, whichever is given first
            found = self.compare(b, a)
            return found and Shared(
                found.containment_b, found.containment_a, found.similarity, found.shared_b, found.shared_a
            )
        framed = in_one_window_or_the_middle(Run.of(a), Run.of(b))
        if framed is None:
            return None
        one, other, _ = framed
        matches: list[Match] = []
        while len(matches) < _RANGES and (match := self._best(one, other)):
            matches.append(match)
            one, other = one.without(match.ranges_a), other.without(match.ranges_b)
        containment_a = sum(e - s for m in matches for s, e in m.ranges_a)
        containment_b = sum(e - s for m in matches for s, e in m.ranges_b)
        total_a, total_b = float(a.lengths.sum()), float(b.lengths.sum())
        if containment_a < min(self.seconds, 0.6 * total_a, 0.6 * total_b):
            return None
        weight = np.array([m.score for m in matches])
        similarity = float(np.average([m.similarity for m in matches], weights=weight))
        return Shared(
            min(1.0, containment_a / total_a),
            min(1.0, containment_b / total_b),
            similarity,
            tuple(sorted(r for m in matches for r in m.ranges_a)),
            tuple(sorted(r for m in matches for r in m.ranges_b)),
        )

    def _best(self, one: Run, other: Run) -> Match | None:
        """Return the match at the best offset, if there is any."""
        best: Match | None = None
        most = min(one.useful_s, other.useful_s)
        for offset in likely_offsets(one, other):
            best = max((m for m in (best, self._at(one, other, offset)) if m), key=lambda m: m.score, default=None)
            if best and best.score >= _SURE * most:
                break
        for step in (_STEP_S, _STEP_S / 2):
            if best:
                near = [self._at(one, other, best.offset + sign * step) for sign in (-1, 1)]
                best = max([best, *(m for m in near if m)], key=lambda m: m.score)
        return best

    def _at(self, one: Run, other: Run, offset: float) -> Match | None:
        """Return what agrees where `other` is `offset` seconds ahead, or None."""
        if np.median(one.lasts) >= np.median(other.lasts):
            return self._agreeing(one, other, offset)
        found = self._agreeing(other, one, -offset)
        return found and Match(offset, found.score, found.similarity, found.ranges_b, found.ranges_a)

    def _agreeing(self, one: Run, other: Run, offset: float) -> Match | None:
        """Return the ranges in which `other` shows the same as `one` whose samples are fewer, or None."""
        over = lay_over(one, other, offset)
        use = np.flatnonzero(over.useful)
        if not len(use):
            return None
        q, r = over.one[use], over.other[use]
        picture = np.einsum("nc,nc->n", q, r)
        change, energy = correlation_of_changes(q, r)
        good = (picture >= self.picture) & ((energy < self.still) | (change >= self.change))
        verdict = np.zeros(len(over.sample), np.int8)  # 1 agrees, -1 does not, 0 says nothing
        verdict[use] = np.where(good, 1, -1)
        verdict[~over.useful & ~over.blank] = -1
        place = np.cumsum(over.useful) - 1  # of a sample among the useful ones
        ranges, score, alike = [], 0.0, []
        for first, last in _segments(verdict):
            of = place[first : last + 1][over.useful[first : last + 1]]
            strength = self._strength(q[of], r[of], picture[of])
            if strength:
                ranges.append(_range(one, other, over, offset, first, last))
                score += strength * float(one.lasts[over.sample[use[of]]].sum())
                alike.append(picture[of])
        if not ranges:
            return None
        there = tuple((start + offset, end + offset) for start, end in ranges)
        return Match(offset, score, float(np.concatenate(alike).mean()), tuple(ranges), there)

    def _strength(self, q: Floats, r: Floats, picture: Floats) -> float:
        """Return how surely two runs of pictures that are laid over each other are the same, 0 where they are not."""
        change, energy = correlation(q - q.mean(0), r - r.mean(0))
        if energy < self.still:
            return 0.5 if np.median(picture) >= self.still_picture else 0.0
        return change if change >= self.whole_change else 0.0


class Match(NamedTuple):
    """What agrees at one offset."""

    offset: float
    score: float
    similarity: float
    ranges_a: tuple[Range, ...]
    ranges_b: tuple[Range, ...]


def _segments(verdict: NDArray[np.int8]) -> list[tuple[int, int]]:
    """Return the first and last of each run of samples that agree; `_GAP` that do not, and any that say nothing, may
    lie between, and those that say nothing before and after belong to it."""
    agreeing = np.flatnonzero(verdict == 1)
    if not len(agreeing):
        return []
    against = np.concatenate([[0], np.cumsum(verdict == -1)])
    between = against[agreeing[1:]] - against[agreeing[:-1]]
    breaks = np.flatnonzero(between > _GAP)
    firsts = agreeing[np.concatenate([[0], breaks + 1])]
    lasts = agreeing[np.concatenate([breaks, [len(agreeing) - 1]])]
    segments = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        while first > 0 and verdict[first - 1] == 0:
            first -= 1
        while last + 1 < len(verdict) and verdict[last + 1] == 0:
            last += 1
        segments.append((first, last))
    return segments


def _range(one: Run, other: Run, over: Overlay, offset: float, first: int, last: int) -> Range:
    """Return from when to when in `one` two runs agree.

    Where nothing is laid over each other before the first sample (after the last), it begins (ends) where both do, if
    that is within one sample.
    """
    start = float(one.at[over.sample[first]])
    end = float(one.at[over.sample[last]] + one.lasts[over.sample[last]])
    begin = max(float(one.at[0]), float(other.at[0]) - offset)
    finish = min(one.end, other.end - offset)
    if first == 0 and start - begin <= one.lasts[over.sample[first]]:
        start = begin
    if last == len(over.sample) - 1 and finish - end <= one.lasts[over.sample[last]]:
        end = finish
    return max(start, begin), min(end, finish)


def correlation_of_changes(q: Floats, r: Floats) -> tuple[Floats, Floats]:
    """Return for pictures [n, c] laid over each other how what changes around each correlates, and its energy: [n].

    Around it, or only before or only after it, whichever correlates best: what is shared may begin or end there.
    """
    product = np.einsum("nc,nc->n", q, r)[:, None]
    changes, energies = [], []
    for before, after in ((AROUND, AROUND), (AROUND, 0), (0, AROUND)):
        mean_q, mean_r = mean_around(q, before, after), mean_around(r, before, after)
        both = mean_around(product, before, after)[:, 0] - np.einsum("nc,nc->n", mean_q, mean_r)
        energy_q, energy_r = (np.maximum(0, 1 - np.einsum("nc,nc->n", mean, mean)) for mean in (mean_q, mean_r))
        changes.append(both / np.sqrt(np.maximum(energy_q * energy_r, 1e-12)))
        energies.append(np.maximum(energy_q, energy_r))
    return np.max(changes, axis=0), energies[0]


def correlation(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the correlation of two arrays [n, c] whose means over n are 0, and the larger mean square of a row."""
    squares = float(np.einsum("nc,nc->", x, x)), float(np.einsum("nc,nc->", y, y))
    both = float(np.einsum("nc,nc->", x, y))
    return both / max(1e-12, (squares[0] * squares[1]) ** 0.5), max(squares) / len(x)


@dataclass(frozen=True, kw_only=True)
class ImageSimilarity:
    """Finds images alike: one sample each, and no change to go by, so the pictures must agree closely."""

    version: int = 2
    min_collisions: int = 1
    sufficient_collisions: int = 1
    tables: int = 3
    bits: int = 28
    picture: float = 0.97

    def scaled_to(self, items: int) -> ImageSimilarity:
        """Return it with keys of more signs, where there are many items; see pipeline.dedup.similarity.Similarity."""
        return replace(self, bits=bits_for(self.bits, items))

    def hash_keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return keys [m, 8 * tables], m = 0 for a flat picture, else 1; see pipeline.dedup.similarity.Similarity."""
        pictures = signature_pictures(signature.samples)
        return sign_keys(pictures[~is_flat(pictures)], tables=self.tables, bits=self.bits)

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return that two images are the same, or None; see pipeline.dedup.similarity.Similarity."""
        if not len(a.samples) or not len(b.samples):
            return None
        framed = in_one_window(Run.of(a), Run.of(b))
        if framed is None:
            return None
        alike = float(framed.one.pictures[0] @ framed.other.pictures[0])
        if alike < self.picture:
            return None
        return Shared(1.0, 1.0, min(1.0, alike), ((0.0, float(a.lengths[0])),), ((0.0, float(b.lengths[0])),))
