"""Pairs of items that share content: the table that `dedup` writes, and `select` reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline.dedup.similarity import Range, Shared, Signature
from pipeline.runtime.units import read_rows
from pipeline.runtime.workspace import Workspace
from schemas.records import PAIRS


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two items that share content (a row of schemas.records.PAIRS); `a` is the smaller content_id."""

    a: str  # content_id
    b: str
    kind: str
    containment_a: float  # share of a that b contains, 0 to 1
    containment_b: float  # share of b that a contains, 0 to 1
    similarity: float  # mean similarity of the shared samples, 0 to 1
    shared_a: tuple[Range, ...] = ()  # ranges of a in seconds, or in characters of the clean text
    shared_b: tuple[Range, ...] = ()
    mirrored: bool = False  # whether one shows the pictures of the other flipped horizontally

    @classmethod
    def of(cls, a: Signature, b: Signature, shared: Shared) -> Pair:
        """Return the pair of two signatures, of which a has the smaller content_id, and what they share."""
        return cls(a=a.content_id, b=b.content_id, kind=a.kind, **asdict(shared))

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Pair:
        """Return the pair of a row that Parquet gives."""
        ranges = {name: tuple((r["start"], r["end"]) for r in row[name]) for name in ("shared_a", "shared_b")}
        return cls(**row | ranges)

    def other(self, content_id: str) -> str:
        """Return the item that `content_id` shares content with."""
        return self.b if content_id == self.a else self.a

    def containment_of(self, content_id: str) -> float:
        """Return the share of the item `content_id` that the other one contains, 0 to 1."""
        return self.containment_a if content_id == self.a else self.containment_b

    def shared_ranges_of(self, content_id: str) -> tuple[Range, ...]:
        """Return the ranges of the item `content_id` that the other one contains."""
        return self.shared_a if content_id == self.a else self.shared_b


def pairs_table(pairs: Iterable[Pair]) -> pa.Table:
    """Return pairs as an Arrow table."""
    return pa.Table.from_pylist([_to_row(pair) for pair in pairs], PAIRS)


def _to_row(pair: Pair) -> dict[str, Any]:
    ranges = {"shared_a": pair.shared_a, "shared_b": pair.shared_b}
    return asdict(pair) | {n: [{"start": start, "end": end} for start, end in r] for n, r in ranges.items()}


def read_pairs(workspace: Workspace) -> list[Pair]:
    """Return the pairs that `dedup` found; empty if it has not run."""
    if not workspace.pairs.exists():
        return []
    return [Pair.from_row(row) for row in read_rows(workspace.pairs, PAIRS).to_pylist()]
