"""Which copy is kept where several items share content: clusters, the order among copies, and what is cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pipeline.limits import numbers
from schemas.errors import ConfigError

Row = Mapping[str, Any]
Preference = Literal["resolution", "bit_rate", "length"]


@dataclass(frozen=True, kw_only=True)
class KeepConfig:
    """What makes an item a near-duplicate of another, and which of the two is kept."""

    near: bool = True
    """Set aside near-duplicates. Where not, they still fall into one split."""
    covered: float = 0.8
    """Share of an item that another must have too, for the first to be set aside."""
    similar: float = 0.0
    """How alike the shared parts must be at least, 0 to 1; the search itself finds nothing below its own limit."""
    prefer: tuple[Preference, ...] = ("resolution", "bit_rate", "length")
    """Of two items that cover each other the better one is kept: what to compare first, second, third. An item that
    has all of another and more is kept whatever the order."""

    def __post_init__(self) -> None:
        if not 0 < self.covered <= 1:
            raise ConfigError(f"covered must be above 0 and at most 1, got {self.covered}")
        if not 0 <= self.similar <= 1:
            raise ConfigError(f"similar must be from 0 to 1, got {self.similar}")
        if set(self.prefer) - set(get_args(Preference)) or len(set(self.prefer)) != len(self.prefer):
            raise ConfigError(f"prefer takes each of {', '.join(get_args(Preference))} once, got {self.prefer}")


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
    """Return for each content_id that is set aside the pair that decides it. `rows` have one content_id each.

    Of two rows of which only one covers the other, that one is better; of two that cover each other, the one that
    ranks better. The best are kept first, and each further row unless a kept one covers it. No kept row covers
    another in the end.
    """
    order = {row["content_id"]: rank(row, config.prefer) for row in rows}
    covers: dict[str, dict[str, Row]] = {name: {} for name in order}  # of each, by what it is covered
    for pair in pairs:
        if pair["similarity"] < config.similar or pair["a"] not in order or pair["b"] not in order:
            continue
        for one, other in (("a", "b"), ("b", "a")):
            if pair[f"covered_{one}"] >= config.covered:
                covers[pair[one]][pair[other]] = pair
    strictly = {name: [other for other in by if name not in covers[other]] for name, by in covers.items()}
    beaten: dict[str, Row] = {}
    kept: list[str] = []
    for name in sorted(order, key=lambda n: (len(strictly[n]), order[n])):
        by = next((other for other in kept if other in covers[name]), None)
        if by is None:
            for smaller in [other for other in kept if name in covers[other]]:  # coverage need not be transitive
                kept.remove(smaller)
                beaten[smaller] = covers[smaller][name]
            kept.append(name)
        else:
            beaten[name] = covers[name][by]
    return beaten


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
