"""How videos, and images, are found alike by their frames.

Keys.  A sample's picture is turned into the signs of its low cosine coefficients, and so are two of its windows; each
table takes some of the signs, the same ones always, and also with its least certain sign turned round. Copies agree
in most signs, so in all of some table's for some sample; where one is a crop of the other, its pictures agree with
the other's windows.

Comparison.  First the window: a copy may show a part of the picture only. Then offsets in time: differences of times
of samples that look alike vote. At an offset, two things must agree. The pictures (correlation), and what *changes* in
them: from each picture the mean of its neighbours in time is taken away, and what is left must correlate, too. Two
takes of one scene, or two parts of an interview, agree in the first and not in the second; a logo disturbs the first a
little and the second hardly. Where nothing changes at all, the pictures must be the same. This is asked of each sample
with its neighbours, which makes ranges, and again of each range as a whole.

What agrees at one offset is a range; the search goes on with what is left, so a shared intro and a shared end are two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.frame_run import AROUND, Floats, Overlay, Run, find_window, lay_over, mean_around, stretch
from pipeline.likeness import Range, Shared, Signature
from pipeline.signature import SIDE, frame_pictures, is_flat

_SEED = 20240229  # of the choice of signs; a constant, as keys of different seeds do not meet
_LOW = 7  # coefficients a side that keys are made of
_SIGMA = 0.3  # of the picture's side: how fast they fade from the middle, as crops and logos change the edges most
_MARGINS = (0.035, 0.07)  # of the windows that have keys of their own, so that they meet those of a crop
_WINDOW_PAIRS = 8  # pictures by which the window is found
_ALIKE = 0.5  # median correlation of the most alike pictures, below which no window helps
_SAME_WINDOW = 0.99  # above which none is needed
_FRAMED = 0.75  # least correlation in the window
_VOTE = 0.7
_STILL_VOTE = 0.02
_STEP_S = 0.25
_OFFSETS = 24
_GAP = 2  # samples that may disagree within a range
_RANGES = 6
_ROWS = 512  # of the matrix of all pairs of samples, held at a time


@dataclass(frozen=True, kw_only=True)
class VideoLikeness:
    """Finds videos alike. The numbers are those of benchmarks/near_duplicates.py; all of them decide what is found."""

    version: int = 1
    votes: int = 3  # keys in common, for a comparison; a sign that is turned round in both gives two at once
    tables: int = 4
    bits: int = 28
    picture: float = 0.8  # least correlation of pictures
    change: float = 0.6  # least correlation of what changes around a sample
    whole_change: float = 0.7  # and of what changes in a range
    still: float = 1e-3  # energy of what changes, of that of the picture, below which nothing does
    still_picture: float = 0.985  # least correlation of pictures where nothing changes
    seconds: float = 1.5  # least that is shared

    def keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return keys [m, 6 * tables] of the m samples that are not flat; see pipeline.likeness.Likeness."""
        pictures = frame_pictures(signature.samples)
        return sign_keys(pictures[~is_flat(pictures)], tables=self.tables, bits=self.bits)

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return what two videos share; see pipeline.likeness.Likeness."""
        if not len(a.samples) or not len(b.samples):
            return None
        one, other = Run.of(a), Run.of(b)
        framed = in_one_window(one, other)
        if framed is None:
            return None
        one, other = framed
        matches: list[Match] = []
        while len(matches) < _RANGES and (found := self._best(one, other)):
            matches.append(found)
            one, other = one.without(found.ranges_a), other.without(found.ranges_b)
        covered_a = sum(e - s for m in matches for s, e in m.ranges_a)
        covered_b = sum(e - s for m in matches for s, e in m.ranges_b)
        total_a, total_b = float(a.lasts.sum()), float(b.lasts.sum())
        if covered_a < min(self.seconds, 0.6 * total_a, 0.6 * total_b):
            return None
        weight = np.array([m.score for m in matches])
        similarity = float(np.average([m.similarity for m in matches], weights=weight))
        return Shared(
            min(1.0, covered_a / total_a),
            min(1.0, covered_b / total_b),
            similarity,
            tuple(sorted(r for m in matches for r in m.ranges_a)),
            tuple(sorted(r for m in matches for r in m.ranges_b)),
        )

    def _best(self, one: Run, other: Run) -> Match | None:
        """Return the match at the best offset, if there is any."""
        found = [self._at(one, other, offset) for offset in likely_offsets(one, other)]
        best = max((m for m in found if m), key=lambda m: m.score, default=None)
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


def in_one_window(one: Run, other: Run) -> tuple[Run, Run] | None:
    """Return the runs so that both show the same part of the picture, or None where they have no picture in common."""
    near = _nearest(one, other)
    if near is None or np.median(near[2]) < _ALIKE:
        return None
    i, j, alike = near
    if np.median(alike) >= _SAME_WINDOW:
        return one, other
    p, q = one.pictures[i], other.pictures[j]
    inner, outer = find_window(p, q), find_window(q, p)
    by_inner = float(np.median(np.einsum("nc,nc->n", inner.of(p), q)))
    by_outer = float(np.median(np.einsum("nc,nc->n", p, outer.of(q))))
    if max(by_inner, by_outer) < _FRAMED:
        return None
    return (one.through(inner), other) if by_inner >= by_outer else (one, other.through(outer))


def _nearest(one: Run, other: Run) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats] | None:
    """Return the pairs of samples that are most alike, at most `_WINDOW_PAIRS`, the best first."""
    mine, theirs = np.flatnonzero(one.useful), np.flatnonzero(other.useful)
    if not len(mine) or not len(theirs):
        return None
    best, which = [], []
    for at in range(0, len(mine), _ROWS):
        alike = one.pictures[mine[at : at + _ROWS]] @ other.pictures[theirs].T
        which.append(alike.argmax(1))
        best.append(alike.max(1))
    alike, partner = np.concatenate(best), np.concatenate(which)
    order = np.argsort(-alike, kind="stable")[:_WINDOW_PAIRS]
    return mine[order], theirs[partner[order]], alike[order]


def likely_offsets(one: Run, other: Run) -> list[float]:
    """Return differences of times at which samples are alike, the most likely first.

    Each pair of samples votes for its difference with the correlation of what sets the two apart from their
    neighbours, as in a quiet scene all pictures are alike; and a little with that of the pictures.
    """
    mine, theirs = np.flatnonzero(one.useful), np.flatnonzero(other.useful)
    changes, others = one.changes[mine], other.changes[theirs]
    votes: dict[int, float] = {}
    for at in range(0, len(mine), _ROWS):
        part = mine[at : at + _ROWS]
        alike = one.pictures[part] @ other.pictures[theirs].T
        i, j = np.nonzero(alike >= _VOTE)
        if len(i):
            weight = np.einsum("nc,nc->n", changes[at + i], others[j]) + _STILL_VOTE * alike[i, j]
            difference = np.round((other.at[theirs[j]] - one.at[part[i]]) / _STEP_S).astype(np.int64)
            steps, back = np.unique(difference, return_inverse=True)
            for step, vote in zip(steps.tolist(), np.bincount(back, weight).tolist(), strict=True):
                votes[step] = votes.get(step, 0.0) + vote
    best = sorted(votes, key=lambda step: (-votes[step], abs(step), step))[:_OFFSETS]
    return [step * _STEP_S for step in best]


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
class ImageLikeness:
    """Finds images alike: one sample each, and no change to go by, so the pictures must agree closely."""

    version: int = 1
    votes: int = 1
    tables: int = 3
    bits: int = 28
    picture: float = 0.97

    def keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return keys [m, 6 * tables] of the sample, none where it is flat; see pipeline.likeness.Likeness."""
        pictures = frame_pictures(signature.samples)
        return sign_keys(pictures[~is_flat(pictures)], tables=self.tables, bits=self.bits)

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return that two images are the same, or None; see pipeline.likeness.Likeness."""
        if not len(a.samples) or not len(b.samples):
            return None
        framed = in_one_window(Run.of(a), Run.of(b))
        if framed is None:
            return None
        alike = float(framed[0].pictures[0] @ framed[1].pictures[0])
        if alike < self.picture:
            return None
        return Shared(1.0, 1.0, min(1.0, alike), ((0.0, float(a.lasts[0])),), ((0.0, float(b.lasts[0])),))


def sign_keys(pictures: NDArray[np.uint8], *, tables: int, bits: int) -> NDArray[np.uint64]:
    """Return keys [n, 6 * tables] of pictures [n, SIDE, SIDE]: the number of a table, and the signs that it takes.

    Each once as it is, and once with the least certain of its signs turned round.
    """
    cells = pictures.reshape(-1, SIDE * SIDE).astype(np.float32)
    waves = (cells @ _waves().T).reshape(len(cells), 1 + len(_MARGINS), _LOW**2 - 1)
    taken = waves[..., _choice(tables, bits)]  # [n, views, tables, bits]
    places = 2.0 ** np.arange(bits)
    keys = ((taken > 0) @ places).astype(np.uint64) + (np.arange(tables, dtype=np.uint64) << np.uint64(56))
    turned = keys ^ places.astype(np.uint64)[np.abs(taken).argmin(-1)]
    return np.stack([keys, turned], axis=-1).reshape(len(cells), 2 * tables * (1 + len(_MARGINS)))


@cache
def _waves() -> Floats:
    """Cosines [views * (_LOW ** 2 - 1), SIDE * SIDE] of the lowest frequencies, fading from the middle of each view.

    None has a mean, so that the brightness of a picture does not count.
    """
    angle = np.pi * np.outer(np.arange(_LOW), np.arange(SIDE) + 0.5) / SIDE
    waves = np.einsum("uy,vx->uvyx", np.cos(angle), np.cos(angle)).reshape(_LOW**2, -1)[1:]
    away = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    fading = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / (2 * _SIGMA**2)).reshape(-1)
    waves = waves * fading
    square = (waves - waves.sum(1, keepdims=True) * fading / fading.sum()).reshape(-1, SIDE, SIDE)
    views = [square, *(stretch(m, m).T @ square @ stretch(m, m) for m in _MARGINS)]  # of the view, not its picture
    return np.concatenate(views).reshape(-1, SIDE * SIDE).astype(np.float32)


@cache
def _choice(tables: int, bits: int) -> NDArray[np.int64]:
    rng = np.random.Generator(np.random.PCG64(_SEED))
    return np.stack([rng.permutation(_LOW**2 - 1)[:bits] for _ in range(tables)])
