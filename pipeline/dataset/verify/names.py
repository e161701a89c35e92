"""Checks the names of shards in the index and the keys of sequences in a shard.

Both are numbered from 0. `longreel takedown` drops shards and sequences without renaming the others, so only a dataset
from which documents were removed can have gaps.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import BinaryIO

from pipeline.dataset.names import key_number, key_of
from schemas.dataset_files import plain_name, sequence_key, shard_name
from schemas.records import SPLITS
from schemas.shards.index import ShardEntry
from schemas.shards.tar import BLOCK

_SHARD = re.compile(r"([a-z]+)-(\d{6,})-of-(\d{6,})-[0-9a-f]{12}\.tar")


def are_shard_names(entries: Sequence[ShardEntry], *, with_gaps: bool) -> bool:
    """Return whether the index lists the splits in order, with increasing shard numbers and without unexpected gaps."""
    counts = Counter(entry.split for entry in entries)
    if not with_gaps:
        names = [shard_name(split, i, counts[split]) for split in SPLITS for i in range(counts[split])]
        return all(_SHARD.fullmatch(entry.url) for entry in entries) and [plain_name(e.url) for e in entries] == names
    places = [_place(entry) for entry in entries]
    known = [place for place in places if place is not None]
    totals = {(split, total) for split, _, total in known}
    increasing = all(a[:2] < b[:2] for a, b in itertools.pairwise(known))
    return len(known) == len(places) and increasing and len(totals) == len(counts)


def _place(entry: ShardEntry) -> tuple[int, int, int] | None:
    found = _SHARD.fullmatch(entry.url)
    if not found or entry.split not in SPLITS:
        return None
    number, total = int(found[2]), int(found[3])
    right = number < total and plain_name(entry.url) == shard_name(entry.split, number, total)
    return (SPLITS.index(entry.split), number, total) if right else None


class Keys:
    """The expected keys of the sequences of a dataset, shard by shard in the order of the index."""

    def __init__(self, *, with_gaps: bool) -> None:
        self._with_gaps = with_gaps
        self._next = dict.fromkeys(SPLITS, 0)

    def of(self, entry: ShardEntry, file: BinaryIO | None) -> list[str]:
        """Return the expected key of each sequence of a shard; `file` is None if the shard cannot be read.

        With gaps, any key that is greater than the previous one is expected; otherwise the next number.
        """
        return [self._take(entry.split, file, at) for at in entry.offsets[:-1]]

    def _take(self, split: str, file: BinaryIO | None, at: int) -> str:
        number = None
        if self._with_gaps and file is not None:
            file.seek(at)
            number = key_number(key_of(file.read(BLOCK)), split)
        if number is None or number < self._next[split]:
            number = self._next[split]
        self._next[split] = number + 1
        return sequence_key(split, number)
