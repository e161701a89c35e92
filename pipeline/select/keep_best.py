"""Which copy is kept where several items share content: clusters, the order among copies, and what is cut.

A pair says which share of each item the other has. An item covers another that it has enough of; of two that cover
each other either can be kept, of two of which only one covers the other, that one must be. So items are gone through
in an order in which what strictly covers an item comes before it, the better ones first, and one is kept unless a kept
one covers it. Nothing that was decided is taken back, and each item that is set aside has a kept one in its place.

Not all pairs of a large group of copies are compared. Where a pair is missing, a third item speaks for it: of an item
that `middle` has a share c of, and of `middle` all but a share 1 - d that the kept one has, the kept one has at least
c - (1 - d) x (length of middle / length of the item). Time is linear in the pairs, but for their order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pipeline.filters.numbers import numbers
from schemas.errors import ConfigError

Row = Mapping[str, Any]
Preference = Literal["resolution", "bit_rate", "length"]


@dataclass(frozen=True, kw_only=True)
class KeepConfig:
    """What makes an item a near-duplicate of another, and which of the two is kept."""

    remove_near_duplicates: bool = True
    """Set aside near-duplicates. Where not, they still fall into one split."""
    min_containment: float = 0.8
    """Share of an item that another must have too, for the first to be set aside."""
    min_similarity: float = 0.0
    """How alike the shared parts must be at least, 0 to 1; the search itself finds nothing below its own limit."""
    cluster_containment: float = 0.2
    """Share of either of two videos or images that must be shared, for both to fall into one split. (With 0, all that
    begin with the same title card do.) Books that share a passage always fall into one."""
    prefer: tuple[Preference, ...] = ("resolution", "bit_rate", "length")
    """Of two items that cover each other the better one is kept: what to compare first, second, third. An item that
    has all of another and more is kept whatever the order."""

    def __post_init__(self) -> None:
        if not 0 < self.min_containment <= 1:
            raise ConfigError(f"min_containment must be above 0 and at most 1, got {self.min_containment}")
        for name in ("min_similarity", "cluster_containment"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if set(self.prefer) - set(get_args(Preference)) or len(set(self.prefer)) != len(self.prefer):
            raise ConfigError(f"prefer takes each of {', '.join(get_args(Preference))} once, got {self.prefer}")


def is_related(pair: Row, config: KeepConfig) -> bool:
    """Tell whether two items share so much that they belong into one split."""
    if pair["similarity"] < config.min_similarity:
        return False
    return pair["kind"] == "book" or max(pair["containment_a"], pair["containment_b"]) >= config.cluster_containment


def clusters(pairs: Iterable[Row]) -> dict[str, str]:
    """Return for every content_id in `pairs` the smallest one that it hangs together with (union by smallest)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for pair in pairs:
        low, high = sorted((root(pair["a"]), root(pair["b"])))
        parent[high] = low
    return {name: root(name) for name in parent}


def rank(row: Row, prefer: Sequence[Preference]) -> tuple[Any, ...]:
    """Sort key of a row among its copies: the best first, the address last of all."""
    found = numbers(row)
    values = {
        "resolution": (row["width"] or 0) * (row["height"] or 0),
        "bit_rate": found.get("bit_rate", 0.0),
        "length": found.get("duration_s", found.get("characters", 0.0)),
    }
    return (*(-values[name] for name in prefer), row["uri"])


def choose(rows: Sequence[Row], pairs: Sequence[Row], config: KeepConfig) -> dict[str, Row]:
    """Return for each content_id that is set aside the pair that decides it, whose other side is kept.

    `rows` have one content_id each. Of two rows of which only one covers the other, that one is better; of two that
    cover each other, the one that ranks better. No kept row covers another, by a pair among `pairs`.
    """
    order = {row["content_id"]: rank(row, config.prefer) for row in rows}
    near: dict[str, dict[str, Row]] = {name: {} for name in order}
    for pair in sorted(pairs, key=lambda p: (p["a"], p["b"])):
        if pair["similarity"] >= config.min_similarity and pair["a"] in order and pair["b"] in order:
            near[pair["a"]][pair["b"]] = near[pair["b"]][pair["a"]] = pair
    beaten: dict[str, Row] = {}
    covering: dict[str, list[str]] = {name: [] for name in order}  # of each, the kept ones that cover it
    for name in _best_first(order, near, config.min_containment):
        if cover := _cover(name, near, covering, config.min_containment):
            beaten[name] = cover
        else:
            for other, pair in near[name].items():
                if containment_of(other, pair) >= config.min_containment:
                    covering[other].append(name)
    return beaten


def containment_of(name: str, pair: Row) -> float:
    """Return which share of `name` the other item of the pair has."""
    return float(pair["containment_a" if pair["a"] == name else "containment_b"])


def _best_first(order: Mapping[str, Any], near: Mapping[str, Mapping[str, Row]], covered: float) -> Iterator[str]:
    """Yield all names so that what strictly covers one comes before it, else by rank (Kahn's algorithm on a heap)."""
    above = dict.fromkeys(order, 0)
    below: dict[str, list[str]] = {name: [] for name in order}
    for name, others in near.items():
        for other, pair in others.items():
            if containment_of(name, pair) >= covered > containment_of(other, pair):
                above[name] += 1
                below[other].append(name)
    ready = [(order[name], name) for name, count in above.items() if not count]
    waiting = sorted(((order[name], name) for name, count in above.items() if count), reverse=True)
    heapq.heapify(ready)
    done: set[str] = set()
    while ready or waiting:
        if not ready:  # a circle, which lengths that are measured apart can make: its best one is first
            ready.append(waiting.pop())
        name = heapq.heappop(ready)[1]
        if name not in done:
            done.add(name)
            yield name
            for other in below[name]:
                above[other] -= 1
                if not above[other]:
                    heapq.heappush(ready, (order[other], other))


def _cover(
    name: str, near: Mapping[str, Mapping[str, Row]], covering: Mapping[str, Sequence[str]], covered: float
) -> Row | None:
    """Return the pair by which a kept item covers `name`, or one made up from two pairs, or None."""
    for kept in covering[name]:
        return near[name][kept]
    for middle, pair in near[name].items():
        for kept in covering[middle]:  # whoever has not enough of the middle one has not enough of this one
            onward = near[middle][kept]
            share, back = containment_of(name, pair), containment_of(middle, pair)
            if kept != name and back > 0 and share * (1 - (1 - containment_of(middle, onward)) / back) >= covered:
                return _through(name, kept, pair, onward, middle)
    return None


def _through(name: str, kept: str, pair: Row, onward: Row, middle: str) -> dict[str, Any]:
    """Return the pair of two items that a third one speaks for: the least that they share."""
    shares = [containment_of(name, pair) * (1 - (1 - containment_of(middle, onward)) / containment_of(middle, pair))]
    shares.append(
        containment_of(kept, onward) * (1 - (1 - containment_of(middle, pair)) / containment_of(middle, onward))
    )
    (a, containment_a), (b, containment_b) = sorted(zip((name, kept), shares, strict=True))
    facts = {"containment_a": containment_a, "containment_b": max(0.0, containment_b), "shared_a": [], "shared_b": []}
    return {"a": a, "b": b, "kind": pair["kind"], "similarity": min(pair["similarity"], onward["similarity"]), **facts}


def shared_ranges(name: str, kept: Mapping[str, tuple[Any, ...]], pairs: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the cuts of a kept book: ranges that a kept book which ranks better has too, in order, joined."""
    ranges = []
    for pair in pairs:
        one, other = ("a", "b") if pair["a"] == name else ("b", "a")
        if pair[one] == name and pair[other] in kept and kept[pair[other]] < kept[name]:
            ranges += [(r["start"], r["end"], pair[other]) for r in pair[f"shared_{one}"]]
    joined: list[list[Any]] = []
    for start, end, by in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end, by])
    return [
        {"start": int(start), "end": int(end), "reason": "near_duplicate", "detail": f"{by} has this passage too"}
        for start, end, by in joined
    ]
