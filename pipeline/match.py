"""The match job: which items of the workspace share content. Only keys and pairs of numbers go through Beam.

    number     in the driver: the items that take part, in the order of their content_id, into a file
    keys       one element a unit: each signature's keys; 8 bytes a key go to one of 256 partitions
    buckets    one element a partition: items that meet in a bucket become pairs with a vote; 10 bytes a pair go on
    compare    one element a range of pairs: those with enough votes are compared, both signatures read by row;
               what they share goes into a file
    join       in the driver: the files become one table, in order

The whole search runs again when a signature or the configuration has changed; it is a small part of what the survey
takes. Time is linear in the items but for what truly is alike; memory is one partition's keys (1/256 of all) a worker
and what Beam's runner keeps of its shuffle.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.beam import Runner, run_matching
from pipeline.candidates import Votes, add_votes, count_votes, entries_of, slices, split_pair
from pipeline.interrupt import raise_if_stopping
from pipeline.likeness import Likeness, Shared, Signature
from pipeline.likeness_books import BookLikeness
from pipeline.likeness_video import ImageLikeness, VideoLikeness
from pipeline.progress import MADE, following, note
from pipeline.report import JobReport
from pipeline.signature_rows import SignatureRows, number_items, read_places, read_unit, write_places
from pipeline.store import unit_files
from pipeline.workspace import Workspace
from schemas.errors import ConfigError
from schemas.files import atomic, write_text
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import PAIRS

LIKENESS: Mapping[str, Likeness] = {"video": VideoLikeness(), "image": ImageLikeness(), "book": BookLikeness()}

_VERSION = 1  # counts up when the same signatures would give other pairs
_RANGES = 64  # of pairs, that are compared side by side
_FLUSH_KEYS = 1 << 21
_GROUP_ROWS = 10_000
_PLACES, _FACTS, _COUNTS = "places.npy", "pairs.json", "counts"


@dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """How the search goes."""

    kinds: tuple[str, ...] = tuple(LIKENESS)
    """Kinds of items that are searched."""
    bucket: int = 32
    """Items that may meet under one key and all be compared with each other. Of more (a title card) each is compared
    with a few."""

    def __post_init__(self) -> None:
        if strange := sorted(set(self.kinds) - set(LIKENESS)):
            raise ConfigError(f"kinds: nothing finds {strange[0]!r} alike; there are {', '.join(LIKENESS)}")
        if self.bucket < 2:
            raise ConfigError(f"bucket must be at least 2, got {self.bucket}")


def match(workspace: Workspace, config: MatchConfig, runner: Runner) -> JobReport:
    """Find the items that share content and write `workspace.pairs`, unless nothing has changed."""
    started = time.monotonic()
    shutil.rmtree(workspace.matching, ignore_errors=True)  # what a killed run left
    kinds = tuple(kind for kind in LIKENESS if kind in config.kinds)
    places, ids = number_items(workspace, kinds)
    key = _fingerprint(workspace, config, kinds, ids)
    facts, new = _known_facts(workspace, key), 0
    if facts is None:
        facts, new = _search(workspace, config, kinds, places, ids, runner), len(places)
        found = {"fingerprint": key, "sha256": sha256_file(workspace.pairs), "facts": facts}
        write_text(workspace.root / _FACTS, json.dumps(found) + "\n")
    return JobReport(
        job="match",
        items=len(places),
        passed=len(places),
        rejected={},
        new=new,
        seconds=time.monotonic() - started,
        facts=facts,
    ).checked()


def _fingerprint(workspace: Workspace, config: MatchConfig, kinds: Sequence[str], ids: pa.Array) -> str:
    going = hashlib.sha256()
    for name in ids.to_pylist():
        going.update(f"{name}\n".encode())
    signatures = [sha256_file(path) for path in unit_files(workspace.signatures)]
    return fingerprint(_VERSION, config, {kind: LIKENESS[kind] for kind in kinds}, going.hexdigest(), signatures)


def _known_facts(workspace: Workspace, key: str) -> dict[str, int] | None:
    """Return what was found the last time, where the table is still that of this fingerprint."""
    try:
        found = json.loads((workspace.root / _FACTS).read_text(encoding="utf-8"))
        same = found["fingerprint"] == key and found["sha256"] == sha256_file(workspace.pairs)
        return dict(found["facts"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _search(
    workspace: Workspace,
    config: MatchConfig,
    kinds: tuple[str, ...],
    places: NDArray[Any],
    ids: pa.Array,
    runner: Runner,
) -> dict[str, int]:
    scratch = workspace.matching
    try:
        write_places(scratch / _PLACES, places)
        units = sorted(set(places["unit"].tolist()))
        if units:
            with following("match", workspace.log("match"), len(units) + _RANGES):
                run_matching(
                    units,
                    keys=KeyWorker(workspace, kinds),
                    buckets=BucketWorker(config.bucket, len(places)),
                    compare=CompareWorker(workspace, kinds),
                    runner=runner,
                )
        counts = _join(workspace, sorted(scratch.glob("pairs-*.parquet")))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {name: n for name, n in counts.items() if n or name != "overfull buckets"}


def _join(workspace: Workspace, parts: Sequence[Path]) -> Counter[str]:
    """Write the pairs of all ranges, which are in order, as one table, and return the sums of their counts."""
    counts: Counter[str] = Counter({"candidates": 0, "pairs": 0})
    with atomic(workspace.pairs) as temporary, pq.ParquetWriter(temporary, PAIRS) as writer:
        for path in parts:
            with pq.ParquetFile(path) as part:
                counts.update(json.loads(part.metadata.metadata[_COUNTS.encode()]))
                writer.write_table(part.read())
    return counts


class VotesParcel(NamedTuple):
    """Votes on their way to a range of pairs, as bytes."""

    pairs: bytes
    votes: bytes
    overfull: int  # buckets of its partition, told with one of its parcels

    @classmethod
    def of(cls, votes: Votes, overfull: int) -> VotesParcel:
        """Pack votes."""
        return cls(votes.pairs.astype("<u8").tobytes(), votes.votes.astype("<u2").tobytes(), overfull)

    def unpack(self) -> Votes:
        """Return the votes again."""
        return Votes(np.frombuffer(self.pairs, "<u8").astype(np.uint64), np.frombuffer(self.votes, "<u2"))


@dataclass(frozen=True)
class KeyWorker:
    """Makes the keys of units."""

    workspace: Workspace
    kinds: tuple[str, ...]

    @contextmanager
    def open(self) -> Iterator[Callable[[int], Iterator[tuple[int, bytes]]]]:
        """Map the numbering; see pipeline.beam.Worker."""
        places = read_places(self.workspace.matching / _PLACES)

        def send(unit: int) -> Iterator[tuple[int, bytes]]:
            numbers = np.flatnonzero(places["unit"] == unit)
            rows = dict(zip(places["row"][numbers].tolist(), numbers.tolist(), strict=True))
            held, size = [], 0
            for number, signature in read_unit(self.workspace.signatures, unit, rows):
                keys = np.unique(LIKENESS[signature.kind].keys(signature))
                held.append((keys, number, self.kinds.index(signature.kind)))
                size += len(keys)
                if size > _FLUSH_KEYS:
                    yield from _entries(held)
                    held, size = [], 0
            yield from _entries(held)
            note(self.workspace.log("match"), MADE, unit=unit)

        yield send


def _entries(held: Sequence[tuple[NDArray[np.uint64], int, int]]) -> Iterator[tuple[int, bytes]]:
    if held:
        keys, numbers, kinds = zip(*held, strict=True)
        sizes = [len(some) for some in keys]
        repeated = (np.repeat(np.array(values, np.uint64), sizes) for values in (numbers, kinds))
        partitions, entries = entries_of(np.concatenate(keys), *repeated)
        for partition, part in slices(partitions):
            yield partition, entries[part].astype("<u8").tobytes()


@dataclass(frozen=True)
class BucketWorker:
    """Turns the entries of a partition into votes."""

    bucket: int
    items: int

    @contextmanager
    def open(self) -> Iterator[Callable[[tuple[int, Iterable[bytes]]], Iterator[tuple[int, VotesParcel]]]]:
        """See pipeline.beam.Worker."""

        def send(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, VotesParcel]]:
            entries = np.concatenate([np.frombuffer(parcel, "<u8") for parcel in group[1]]).astype(np.uint64)
            found, overfull = count_votes(entries, cap=self.bucket)
            for number, part in slices(split_pair(found.pairs)[0] * _RANGES // self.items):
                yield number, VotesParcel.of(Votes(found.pairs[part], found.votes[part]), overfull)
                overfull = 0

        yield send


@dataclass(frozen=True)
class CompareWorker:
    """Compares the pairs of a range that have votes enough, and writes what they share."""

    workspace: Workspace
    kinds: tuple[str, ...]

    @contextmanager
    def open(self) -> Iterator[Callable[[tuple[int, Iterable[VotesParcel]]], None]]:
        """Open the signatures; see pipeline.beam.Worker."""
        places = read_places(self.workspace.matching / _PLACES)
        with closing(SignatureRows(self.workspace.signatures, places)) as signatures:
            yield lambda group: self._compare(group[0], group[1], places, signatures)

    def _compare(
        self, number: int, parcels: Iterable[VotesParcel], places: NDArray[Any], signatures: SignatureRows
    ) -> None:
        given = list(parcels)
        found = add_votes([parcel.unpack() for parcel in given])
        enough = np.array([LIKENESS[kind].votes for kind in self.kinds])
        one, other = split_pair(found.pairs)
        likely = found.votes >= enough[places["kind"][one]]
        shared = _shared(one[likely].tolist(), other[likely].tolist(), signatures)
        counts = Counter({"candidates": int(likely.sum()), "overfull buckets": sum(p.overfull for p in given)})
        path = self.workspace.matching / f"pairs-{number:03d}.parquet"
        with atomic(path) as temporary, pq.ParquetWriter(temporary, PAIRS) as writer:
            while rows := list(itertools.islice(shared, _GROUP_ROWS)):
                writer.write_table(pa.Table.from_pylist(rows, PAIRS))
                counts["pairs"] += len(rows)
            writer.add_key_value_metadata({_COUNTS: json.dumps(counts)})
        note(self.workspace.log("match"), MADE, range=number)


def _shared(ones: Sequence[int], others: Sequence[int], signatures: SignatureRows) -> Iterator[dict[str, Any]]:
    """Yield a row for each pair that shares something."""
    for one, other in zip(ones, others, strict=True):
        raise_if_stopping()
        a, b = signatures.read(one), signatures.read(other)
        if shared := LIKENESS[a.kind].compare(a, b):
            yield _row(a, b, shared)


def _row(a: Signature, b: Signature, shared: Shared) -> dict[str, Any]:
    ranges = {
        name: [{"start": start, "end": end} for start, end in given]
        for name, given in (("shared_a", shared.shared_a), ("shared_b", shared.shared_b))
    }
    numbers = {name: getattr(shared, name) for name in ("covered_a", "covered_b", "similarity")}
    return {"a": a.content_id, "b": b.content_id, "kind": a.kind, **numbers, **ranges}
