"""The third step of the search: pairs with enough collisions are compared, and written if they share content."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

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
from schemas.checksums import DIGEST_BYTES
from schemas.errors import DatasetError
from schemas.files import read_array, read_json
from schemas.records import PAIRS
from schemas.storage.location import Location
from schemas.tables import table_writer

COUNTS = "counts"  # key of the counts in the metadata of a file of pairs
_GROUP_ROWS = 10_000


class _PairFile(NamedTuple):
    """A file of the pairs of one part, whose checksum matched, and where in it the ranges are."""

    path: Location
    bounds: list[int]  # in bytes

    @classmethod
    def of(cls, path: Location, edges: NDArray[np.uint64]) -> _PairFile:
        """Check a file; the pairs of range `n` are from `edges[n]` to `edges[n + 1]`."""
        pairs, stat = read_array(path), path.stat()
        assert stat is not None
        header = stat.size - DIGEST_BYTES - pairs.nbytes
        return cls(path, (header + PAIR.itemsize * np.searchsorted(pairs["pair"], edges)).tolist())

    def read(self, number: int) -> Pairs:
        """Return the pairs of a range."""
        start, end = self.bounds[number : number + 2]
        try:
            return np.frombuffer(self.path.read_range(start, end - start), PAIR)
        except (OSError, EOFError) as e:
            raise DatasetError(f"{self.path} cannot be read ({e}); run the same command again") from e


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
        files = cache(self._pair_files)  # checked with the first element, when all exist
        with closing(SignatureRows(self.workspace.signatures, items)) as signatures:
            yield lambda number: self._compare(number, items, signatures, files())

    def _compare(self, number: int, items: NDArray[Any], signatures: SignatureRows, files: Sequence[_PairFile]) -> None:
        candidates = self._candidates(items, merge_pairs([file.read(number) for file in files]))
        found = self._shared(candidates, items, signatures)
        counts = Counter({"candidates": len(candidates), "full buckets": self._full_buckets(number)})
        with table_writer(self.scratch.pairs(number), PAIRS) as writer:
            while pairs := list(itertools.islice(found, _GROUP_ROWS)):
                writer.write_table(pairs_table(pairs))
                counts["pairs"] += len(pairs)
            writer.add_key_value_metadata({COUNTS: json.dumps(counts)})
        note(MADE, range=number)

    def _pair_files(self) -> list[_PairFile]:
        items, ranges = self.division.items, self.division.ranges
        edges = np.array([-(-items * n // ranges) << 32 for n in range(ranges + 1)], np.uint64)
        return [_PairFile.of(self.scratch.collisions(part), edges) for part in range(self.division.parts)]

    def _candidates(self, items: NDArray[Any], pairs: Pairs) -> Pairs:
        """Return those of the pairs of a range with enough collisions to be compared."""
        kind = items["kind"][split_pair(pairs["pair"])[0]]
        minimum = np.array([one.min_collisions for one in self.similarity])[kind]
        sufficient = np.array([one.sufficient_collisions for one in self.similarity])[kind]
        collisions = pairs["collisions"]
        is_candidate = (collisions >= sufficient) | ((collisions >= minimum) & from_two_samples(pairs))
        return pairs[is_candidate]

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
