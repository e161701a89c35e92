"""The third step of the search: pairs with enough collisions are compared, and written if they share content."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.candidates import PAIR, Pairs, from_two_samples, merge_pairs, split_pair
from pipeline.dedup.pairs import Pair, pairs_table
from pipeline.dedup.scratch import Division, Scratch
from pipeline.dedup.signature_table import SignatureRows, read_items
from pipeline.dedup.similarity import Similarity
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.runtime.journal import MADE, note
from pipeline.runtime.workspace import Workspace
from schemas.files import read_array, read_json
from schemas.records import PAIRS
from schemas.tables import table_writer

COUNTS = "counts"  # key of the counts in the metadata of a file of pairs
_GROUP_ROWS = 10_000


@dataclass(frozen=True)
class ComparisonWorker:
    """Compares the candidates of a range. Memory: the pairs of one range."""

    workspace: Workspace
    scratch: Scratch
    similarity: tuple[Similarity, ...]  # of each kind that is searched, by its number
    division: Division

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Open the signatures; see pipeline.runtime.beam.Worker."""
        items = read_items(self.scratch.items)
        with closing(SignatureRows(self.workspace.signatures, items)) as signatures:
            yield lambda number: self._compare(number, items, signatures)

    def _compare(self, number: int, items: NDArray[Any], signatures: SignatureRows) -> None:
        candidates = self._candidates(number, items)
        found = self._shared(candidates, items, signatures)
        counts = Counter({"candidates": len(candidates), "full buckets": self._full_buckets(number)})
        with table_writer(self.scratch.pairs(number), PAIRS) as writer:
            while pairs := list(itertools.islice(found, _GROUP_ROWS)):
                writer.write_table(pairs_table(pairs))
                counts["pairs"] += len(pairs)
            writer.add_key_value_metadata({COUNTS: json.dumps(counts)})
        note(MADE, range=number)

    def _candidates(self, number: int, items: NDArray[Any]) -> Pairs:
        """Return the pairs of a range with enough collisions to be compared."""
        pairs = self._collisions(number)
        kind = items["kind"][split_pair(pairs["pair"])[0]]
        minimum = np.array([one.min_collisions for one in self.similarity])[kind]
        sufficient = np.array([one.sufficient_collisions for one in self.similarity])[kind]
        collisions = pairs["collisions"]
        is_candidate = (collisions >= sufficient) | ((collisions >= minimum) & from_two_samples(pairs))
        return pairs[is_candidate]

    def _collisions(self, number: int) -> Pairs:
        """Return all pairs of a range, of all parts."""
        ranges = self.division.ranges
        edges = np.array([-(-self.division.items * n // ranges) << 32 for n in (number, number + 1)], np.uint64)
        parts = [np.zeros(0, PAIR)]
        for part in range(self.division.parts):
            pairs = read_array(self.scratch.collisions(part))
            parts.append(pairs[slice(*np.searchsorted(pairs["pair"], edges).tolist())].copy())  # closes the file
        return merge_pairs(parts)

    def _full_buckets(self, number: int) -> int:
        """Return the number of full buckets of all parts for the first range, and 0 for the others."""
        paths = [self.scratch.full_buckets(part) for part in range(self.division.parts) if number == 0]
        return sum(read_json(path)["full"] for path in paths)

    def _shared(self, candidates: Pairs, items: NDArray[Any], signatures: SignatureRows) -> Iterator[Pair]:
        """Yield the candidates that share content."""
        for one, other in zip(*(side.tolist() for side in split_pair(candidates["pair"])), strict=True):
            raise_if_stopping()
            a, b = signatures.read(one), signatures.read(other)
            if shared := self.similarity[items["kind"][one]].compare(a, b):
                yield Pair.of(a, b, shared)
