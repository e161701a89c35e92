"""Intermediate files of one search, in a folder of its own; each step reads those of the step before it.

    items.npy              the items of the search (`pipeline.dedup.signature_table.ITEM`)
    keys-012.u64           the entries of a block of units, in runs, each sorted by partition
    keys-012.npy           where in the file the partitions of each run are (`pipeline.dedup.key_runs.RUN`)
    collisions-007.npy     pairs of some partitions (`pipeline.dedup.candidates.PAIR`), sorted by pair
    collisions-007.json    the number of their buckets over the maximum size
    pairs-063.parquet      the pairs of one range that share content, sorted

A file that is missing is an error, as every name follows from the number of units and elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.dedup.candidates import PARTITIONS
from schemas.storage.location import Location

_ITEMS_PER_PART = 256
_ITEMS_PER_RANGE = 32
_MAX_RANGES = 64
_MAX_BLOCKS = 256


class Division(NamedTuple):
    """Into how many elements the work is divided; the result does not depend on it."""

    items: int
    parts: int  # of the partitions of hash keys
    ranges: int  # of pairs, by the smaller number
    blocks: int  # of units; each worker reads the files of all of them

    @classmethod
    def of(cls, items: int, units: int) -> Division:
        """Return the division for a number of items in a number of units."""
        parts = 1 << (items // _ITEMS_PER_PART).bit_length()
        ranges = 1 << (items // _ITEMS_PER_RANGE).bit_length()
        return cls(items, min(PARTITIONS, parts), min(_MAX_RANGES, ranges), min(_MAX_BLOCKS, units))


@dataclass(frozen=True)
class Scratch:
    """Paths of the intermediate files in `folder`."""

    folder: Location

    @property
    def items(self) -> Location:
        """The items of the search."""
        return self.folder / "items.npy"

    def keys(self, block: int) -> Location:
        """The entries of a block of units."""
        return self.folder / f"keys-{block:03d}.u64"

    def key_runs(self, block: int) -> Location:
        """Where the partitions are in the entries of a block of units."""
        return self.folder / f"keys-{block:03d}.npy"

    def collisions(self, part: int) -> Location:
        """The pairs of a part of the partitions."""
        return self.folder / f"collisions-{part:03d}.npy"

    def full_buckets(self, part: int) -> Location:
        """The number of buckets over the maximum size in a part of the partitions."""
        return self.folder / f"collisions-{part:03d}.json"

    def pairs(self, number: int) -> Location:
        """The pairs of a range that share content."""
        return self.folder / f"pairs-{number:03d}.parquet"
