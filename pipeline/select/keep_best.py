"""Which copy is kept of several items that share content: clusters, the order of the copies, and duplicate passages.

A pair gives the share of each item that the other one contains. An item duplicates another one that contains at least
`min_containment` of it. If each of two items duplicates the other, either can be kept; if only one does, the other must
be. Items are visited in an order in which an item comes after those that it, one-sidedly, duplicates, and else better
items first. An item is kept unless it duplicates a kept one. No decision is revised, and every rejected item duplicates
a kept one.

In a large group of copies not all pairs are compared. A missing pair is bounded through a third item: if `middle`
contains a share c of an item, and the kept item contains a share d of `middle`, then the kept item contains at least
c - (1 - d) * (length of `middle` / length of the item). Time is linear in the pairs, except for sorting.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pipeline.dedup.pairs import Pair
from pipeline.filters.numbers import numbers
from schemas.errors import ConfigError
from schemas.rows import SurveyRow, VisualFacts

Preference = Literal["resolution", "bit_rate", "length"]
Rank = tuple[Any, ...]  # sort key of an item among its copies


@dataclass(frozen=True, kw_only=True)
class KeepConfig:
    """What makes an item a near-duplicate of another one, and which of the two is kept."""

    remove_near_duplicates: bool = True
    """Reject near-duplicates. Otherwise they are kept, all in the same split."""
    min_containment: float = 0.8
    """Share of an item that another item must contain for the first one to be a near-duplicate, above 0 to 1."""
    min_similarity: float = 0.0
    """Minimum similarity of the shared parts, 0 to 1. The search itself has a lower bound per kind."""
    cluster_containment: float = 0.2
    """Share of either of two videos or images that the other one must contain for both to be in one split, 0 to 1. With
    0, all videos with the same title card are in one split. Books that share a passage always are."""
    prefer: tuple[Preference, ...] = ("resolution", "bit_rate", "length")
    """Which of two copies is kept: the properties to compare, the most important first. An item that contains all of
    another one and more is kept in any case."""

    def __post_init__(self) -> None:
        if not 0 < self.min_containment <= 1:
            raise ConfigError(f"min_containment must be above 0 and at most 1, got {self.min_containment}")
        for name in ("min_similarity", "cluster_containment"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if set(self.prefer) - set(get_args(Preference)) or len(set(self.prefer)) != len(self.prefer):
            raise ConfigError(f"prefer takes each of {', '.join(get_args(Preference))} once, got {self.prefer}")


def is_related(pair: Pair, config: KeepConfig) -> bool:
    """Return whether two items share enough content to be in one split."""
    if pair.similarity < config.min_similarity:
        return False
    return pair.kind == "book" or max(pair.containment_a, pair.containment_b) >= config.cluster_containment


def clusters(edges: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return, for every name in `edges`, the smallest name of its connected component (union-find)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for one, other in edges:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {name: root(name) for name in parent}


def rank(row: SurveyRow, prefer: Sequence[Preference]) -> Rank:
    """Return the sort key of a row among its copies: the best comes first; equal ones are sorted by address."""
    found, visual = numbers(row), row.visual or VisualFacts()
    values = {
        "resolution": (visual.width or 0) * (visual.height or 0),
        "bit_rate": found.get("bit_rate", 0.0),
        "length": found.get("duration_s", found.get("characters", 0.0)),
    }
    return (*(-values[name] for name in prefer), row.uri)


def choose(ranks: Mapping[str, Rank], pairs: Iterable[Pair], config: KeepConfig) -> dict[str, Pair]:
    """Return, for the content_id of each rejected item, its pair with the kept item that it duplicates.

    `ranks` are the sort keys of the items by content_id. Of two items of which only one duplicates the other, the other
    one is kept; of two that duplicate each other, the one that ranks first. No pair of kept items is a near-duplicate.
    """
    near: dict[str, dict[str, Pair]] = {name: {} for name in ranks}
    for pair in sorted(pairs, key=lambda p: (p.a, p.b)):
        if pair.similarity >= config.min_similarity and pair.a in ranks and pair.b in ranks:
            near[pair.a][pair.b] = near[pair.b][pair.a] = pair
    rejected: dict[str, Pair] = {}
    duplicated: dict[str, list[str]] = {name: [] for name in ranks}  # for each item, the kept items that it duplicates
    for name in _visiting_order(ranks, near, config.min_containment):
        if found := _pair_with_kept(name, near, duplicated, config.min_containment):
            rejected[name] = found
        else:
            for other, pair in near[name].items():
                if pair.containment_of(other) >= config.min_containment:
                    duplicated[other].append(name)
    return rejected


_Near = Mapping[str, Mapping[str, Pair]]


def _visiting_order(ranks: Mapping[str, Rank], near: _Near, min_containment: float) -> Iterator[str]:
    """Yield all names; a name that one-sidedly duplicates another comes after it, else by rank (Kahn's algorithm)."""
    waits_for = dict.fromkeys(ranks, 0)
    followers: dict[str, list[str]] = {name: [] for name in ranks}
    for name, others in near.items():
        for other, pair in others.items():
            if pair.containment_of(name) >= min_containment > pair.containment_of(other):
                waits_for[name] += 1
                followers[other].append(name)
    ready = [(ranks[name], name) for name, count in waits_for.items() if not count]
    waiting = sorted(((ranks[name], name) for name, count in waits_for.items() if count), reverse=True)
    heapq.heapify(ready)
    done: set[str] = set()
    while ready or waiting:
        if not ready:  # a cycle, which inconsistent containments can form: its best item comes first
            ready.append(waiting.pop())
        name = heapq.heappop(ready)[1]
        if name not in done:
            done.add(name)
            yield name
            for other in followers[name]:
                waits_for[other] -= 1
                if not waits_for[other]:
                    heapq.heappush(ready, (ranks[other], other))


def _pair_with_kept(
    name: str, near: _Near, duplicated: Mapping[str, Sequence[str]], min_containment: float
) -> Pair | None:
    """Return the pair of `name` and a kept item that it duplicates, compared or inferred from two pairs, or None."""
    for kept in duplicated[name]:
        return near[name][kept]
    for middle, pair in near[name].items():
        for kept in duplicated[middle]:  # an item that does not contain enough of the middle one cannot be inferred
            onward = near[middle][kept]
            if kept != name and pair.containment_of(middle) > 0:
                inferred = infer(name, kept, middle, pair, onward)
                if inferred.containment_of(name) >= min_containment:
                    return inferred
    return None


def infer(name: str, kept: str, middle: str, pair: Pair, onward: Pair) -> Pair:
    """Return the pair of `name` and `kept` by what both share with `middle`, with lower bounds of their containment.

    `middle` must contain a part of either.
    """
    of_name = _lower_bound(pair.containment_of(name), pair.containment_of(middle), onward.containment_of(middle))
    of_kept = _lower_bound(onward.containment_of(kept), onward.containment_of(middle), pair.containment_of(middle))
    (a, of_a), (b, of_b) = sorted([(name, of_name), (kept, max(0.0, of_kept))])
    similarity = min(pair.similarity, onward.similarity)
    return Pair(a=a, b=b, kind=pair.kind, containment_a=of_a, containment_b=of_b, similarity=similarity)


def _lower_bound(of_item: float, of_middle: float, onward: float) -> float:
    """Return the least share of an item in a third one, of which `middle` is contained with a share `onward`.

    `middle` contains a share `of_item` of the item, which is a share `of_middle` of `middle`.
    """
    return of_item * (1 - (1 - onward) / of_middle)


def duplicate_passages(content_id: str, kept: Mapping[str, Rank], pairs: Iterable[Pair]) -> list[tuple[int, int, str]]:
    """Return the ranges of a kept book that a kept book of better rank contains, as (start, end, content_id of that).

    In characters of the clean text, in order; overlapping and adjacent ranges are joined.
    """
    ranges = []
    for pair in pairs:
        if content_id in (pair.a, pair.b):
            other = pair.other(content_id)
            if other in kept and kept[other] < kept[content_id]:
                ranges += [(start, end, other) for start, end in pair.shared_ranges_of(content_id)]
    joined: list[tuple[float, float, str]] = []
    for start, end, other in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end), joined[-1][2])
        else:
            joined.append((start, end, other))
    return [(int(start), int(end), other) for start, end, other in joined]
