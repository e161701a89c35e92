"""Intermediate files of one search, in a folder of its own; each step reads those of the step before it.

    items.npy              the items of the search (`pipeline.dedup.signature_table.ITEM`)
    keys-00012.u64         the entries of a unit, in runs, each sorted by partition
    keys-00012.npy         where in the file the partitions of each run are (`pipeline.dedup.key_runs.RUN`)
    collisions-007.npy     pairs of some partitions (`pipeline.dedup.candidates.PAIR`), sorted by pair
    collisions-007.json    the number of their buckets over the maximum size
    pairs-063.parquet      the pairs of one range that share content, sorted

A file that is missing is an error, as every name follows from the number of units and elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.dedup.candidates import PARTITIONS
from pipeline.runtime.units import unit_name
from schemas.storage.location import Location

_ITEMS_PER_PART = 256
_MAX_RANGES = 64


class Division(NamedTuple):
    """Into how many elements the work is divided; the result does not depend on it."""

    items: int
    parts: int  # of the partitions of hash keys
    ranges: int  # of pairs, by the smaller number

    @classmethod
    def of(cls, items: int) -> Division:
        """Return the division for a number of items."""
        parts = min(PARTITIONS, 1 << (items // _ITEMS_PER_PART).bit_length())
        return cls(items, parts, min(_MAX_RANGES, parts))


@dataclass(frozen=True)
class Scratch:
    """Paths of the intermediate files in `folder`."""

    folder: Location

    @property
    def items(self) -> Location:
        """The items of the search."""
        return self.folder / "items.npy"

    def keys(self, unit: int) -> Location:
        """The entries of a unit."""
        return self.folder / f"keys-{unit_name(unit)}.u64"

    def key_runs(self, unit: int) -> Location:
        """Where the partitions are in the entries of a unit."""
        return self.folder / f"keys-{unit_name(unit)}.npy"

    def collisions(self, part: int) -> Location:
        """The pairs of a part of the partitions."""
        return self.folder / f"collisions-{part:03d}.npy"

    def full_buckets(self, part: int) -> Location:
        """The number of buckets over the maximum size in a part of the partitions."""
        return self.folder / f"collisions-{part:03d}.json"

    def pairs(self, number: int) -> Location:
        """The pairs of a range that share content."""
        return self.folder / f"pairs-{number:03d}.parquet"
