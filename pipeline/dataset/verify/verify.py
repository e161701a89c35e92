"""Verifies a packed dataset: reads every byte twice, to hash it and to check its content.

The checks: the card and its counts; the hashes of the index, the ledger and the text tokenizer; the list of shard
files; the size, hash, offsets and every sequence of each shard (`sequence`); each span exactly once in the ledger
(`ledger_rows`); the chunks of every document join without gap or overlap (`chunks`); documents that were taken down are
absent; and `croissant.json` states the same facts. With a token store, every document is complete and each token equals
the store's. A changed byte in any file is noticed, because a hash no longer matches.

All problems are reported, up to a limit. A ledger with a wrong hash is not opened; without a valid card, nothing is.
Files that an interrupted command left are counted, and are no problem. If the card is replaced meanwhile, the new
dataset is verified. Memory: one sequence, the ledger rows of a shard, and 28 bytes per chunk of a document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from pipeline.dataset.commit import card_version, is_leftover, leftovers
from pipeline.dataset.croissant import croissant_json
from pipeline.dataset.verify.card import card_problems, split_problems
from pipeline.dataset.verify.chunks import ChunkLog, Store
from pipeline.dataset.verify.ledger_rows import Ledger, LedgerRows
from pipeline.dataset.verify.names import Keys, are_shard_names
from pipeline.dataset.verify.sequence import sequence_problems
from pipeline.dataset.verify.strays import strays
from schemas.counted import counted
from schemas.dataset import EMPTY, DatasetCard, read_card
from schemas.dataset_files import CARD, CROISSANT, INDEX, LEDGER, StoredFile
from schemas.errors import DatasetError
from schemas.fingerprint import sha256_file
from schemas.records import SPLITS
from schemas.shards.index import ShardEntry, checksum_at, checksum_of_sequence, parse_index
from schemas.shards.sequence import read_sequence
from schemas.shards.tar import end_of_archive
from schemas.storage.location import Location, located
from schemas.storage.regular import open_regular
from schemas.vocab import VISION

MOST_PROBLEMS = 100
_COUNTED = ("sequences", "documents", "tokens", "text_tokens", "vision_tokens")


class Problem(NamedTuple):
    """One problem: the file, the key of the sequence (or ""), and a description."""

    file: str
    key: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify`: how much was checked, and the first MOST_PROBLEMS of the `found` problems."""

    problems: tuple[Problem, ...]
    found: int
    shards: int
    sequences: int
    tokens: int
    size_bytes: int
    leftovers: int = 0  # files of an interrupted command, which the next one deletes

    def summary(self) -> str:
        """Return the report's closing line."""
        held = f"{counted(self.shards, 'shard')}, {counted(self.sequences, 'sequence')}"
        seen = f"{held}, {self.tokens:,} tokens, {self.size_bytes:,} bytes"
        if self.leftovers:
            left = counted(self.leftovers, "file")
            seen += f"; an interrupted command left {left}, which the next pack or takedown deletes"
        if not self.found:
            return f"OK: dataset verified: {seen}"
        more = f", the first {len(self.problems)} named" if self.found > len(self.problems) else ""
        return f"{counted(self.found, 'problem')}{more}: {seen}"


def verify(
    place: Location | Path, *, store: Store | None = None, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check the dataset in `place`; with `store`, also compare its tokens with the store's.

    `progress` is called with the number of bytes checked and the total. The content of the files never raises an
    error; it is reported as a problem.
    """
    directory = located(place)
    while True:
        version = card_version(directory)
        report = _Verification(directory, store, progress or (lambda done, total: None)).run()
        if not report.found or card_version(directory) == version:  # otherwise files were deleted while they were read
            return report


@dataclass
class _Seen:
    """Counts of the sequences of a split."""

    unreadable: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class _Verification:
    def __init__(self, directory: Location, store: Store | None, progress: Callable[[int, int], None]) -> None:
        self._directory, self._progress = directory, progress
        self._problems: list[Problem] = []
        self._found = self._done = self._total = self._leftovers = 0
        self._names: dict[str, str] = {}  # of the files that the card names, by the name without the hash
        self._seen = {split: _Seen() for split in SPLITS}
        self._store = store

    def run(self) -> VerifyReport:
        card = self._card()
        if card is None:
            return self._report(0, Counter())
        self._names = {name: file.name for name, file in card.files.items()}
        self._taken_down = frozenset(card.taken_down)
        entries = self._index(card)
        self._text_tokenizer(card)
        ledger = self._ledger(card)
        if ledger is not None:
            self._croissant(card)
        self._files(card)
        self._total = sum(entry.filesize for entry in entries)
        self._keys = Keys(with_gaps=bool(self._taken_down))
        self._chunks = ChunkLog(self._store, without=self._taken_down, left_out=_left_out(card))
        for entry in entries:
            self._shard(entry, card, ledger)
        if ledger is not None and not ledger.is_at_end():
            self._add(self._names[LEDGER], "", "it has rows of shards that the index does not list in this order")
        if entries:
            self._totals(card, Counter(entry.split for entry in entries))
        return self._report(len(entries), sum((seen.counts for seen in self._seen.values()), Counter[str]()))

    def _report(self, shards: int, counts: Counter[str]) -> VerifyReport:
        return VerifyReport(
            problems=tuple(self._problems),
            found=self._found,
            shards=shards,
            sequences=counts["sequences"],
            tokens=counts["tokens"],
            size_bytes=self._done,
            leftovers=self._leftovers,
        )

    def _add(self, file: str, key: str, what: str) -> None:
        self._found += 1
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(Problem(file, key, what))

    def _card(self) -> DatasetCard | None:
        """Return the card if it has no problems."""
        try:
            card = read_card(self._directory)
            problems = list(card_problems(card))
        except DatasetError as e:
            problems = [str(e)]
        for what in problems:
            self._add(CARD, "", what)
        return None if problems else card

    def _index(self, card: DatasetCard) -> list[ShardEntry]:
        self._hash(card.files[INDEX])
        try:
            path = card.file(self._directory, INDEX)
            entries = parse_index(path.read(), path)
        except (OSError, DatasetError) as e:
            self._add(self._names[INDEX], "", str(e))
            return []
        if tuple(entry.file for entry in entries) != card.shards:
            self._add(self._names[INDEX], "", "it does not list the shards that the card names")
        if not are_shard_names(entries, with_gaps=bool(card.taken_down)):
            names = ", ".join(entry.url for entry in entries[:3])
            self._add(self._names[INDEX], "", f"shards are missing, misnamed or out of order: it lists {names} …")
            return [entry for entry in entries if entry.split in SPLITS]
        return entries

    def _hash(self, file: StoredFile) -> bool:
        try:
            found = sha256_file((self._directory / file.name).local())  # a copy in the cache is read again
        except OSError as e:
            self._add(file.name, "", f"it cannot be read: {e.strerror}")
            return False
        if found != file.sha256:
            self._add(file.name, "", f"it was modified: its SHA-256 is {found}, expected {file.sha256}")
        return found == file.sha256

    def _text_tokenizer(self, card: DatasetCard) -> None:
        for file in card.text_tokenizer:
            self._hash(file)
        if (folder := card.text_tokenizer_folder(self._directory)) is not None:
            for name, what in strays(folder, {Path(file.name).name for file in card.text_tokenizer}):
                self._add(f"{folder.name}/{name}", "", what)

    def _ledger(self, card: DatasetCard) -> Ledger | None:
        if not self._hash(card.files[LEDGER]):
            return None
        try:
            return Ledger(card.file(self._directory, LEDGER))
        except (OSError, pa.ArrowException, DatasetError) as e:
            self._add(self._names[LEDGER], "", f"it cannot be read: {e}")
            return None

    def _croissant(self, card: DatasetCard) -> None:
        if not self._hash(card.files[CROISSANT]):
            return
        try:
            if card.file(self._directory, CROISSANT).read() != croissant_json(self._directory, card).encode():
                self._add(self._names[CROISSANT], "", "it differs from the card, the index and the ledger")
        except (OSError, DatasetError) as e:
            self._add(self._names[CROISSANT], "", f"it cannot be compared: {e}")

    def _files(self, card: DatasetCard) -> None:
        self._leftovers = len(leftovers(self._directory, card))
        for name, what in strays(self._directory, {CARD, *(file.name for file in card.stored)}):
            if not is_leftover(name):
                self._add(name, "", what)

    def _shard(self, entry: ShardEntry, card: DatasetCard, ledger: Ledger | None) -> None:
        path = self._directory / entry.url
        rows = self._ledger_rows(ledger, entry.url)
        found = path.stat()
        if found is None:
            self._add(entry.url, "", "the shard is missing")
            self._keys.of(entry, None)
            self._seen[entry.split].unreadable += entry.nsamples
            return
        size = found.size
        self._done += size
        if size != entry.filesize:
            self._add(entry.url, "", f"it has {size} bytes, the index says {entry.filesize}")
        self._hash(entry.file)
        try:
            with open_regular(path.local()) as f:
                keys = self._keys.of(entry, f)
                for key in rows.strays(keys) if rows is not None else ():
                    self._add(
                        self._names[LEDGER], key, f"its rows are not consecutive, or {entry.url} has no such sequence"
                    )
                self._sequences(f, size, entry, keys, card, rows)
        except OSError as e:
            self._add(entry.url, "", f"it cannot be read: {e.strerror}")
            self._seen[entry.split].unreadable += 1
        self._progress(self._done, self._total)

    def _ledger_rows(self, ledger: Ledger | None, shard: str) -> LedgerRows | None:
        try:
            return ledger.rows_of(shard) if ledger is not None else None
        except (OSError, pa.ArrowException) as e:
            self._add(self._names[LEDGER], "", f"the rows of {shard} cannot be read: {e}")
            return None

    def _sequences(
        self, f: BinaryIO, size: int, entry: ShardEntry, keys: list[str], card: DatasetCard, rows: LedgerRows | None
    ) -> None:
        if entry.offsets[0]:
            self._add(entry.url, "", f"its first sequence begins at byte {entry.offsets[0]}, not 0")
        for i, key in enumerate(keys):
            start, end = entry.offsets[i : i + 2]
            if end > size:
                self._add(entry.url, key, f"the shard ends at byte {size}, the sequence at {end}")
                self._seen[entry.split].unreadable += 1
                continue
            f.seek(start)
            block, before = f.read(end - start), self._found
            self._sequence(block, entry, key, card, rows)
            if self._found == before and checksum_of_sequence(block) != checksum_at(entry.checksums, i):
                self._add(entry.url, key, "its checksum is not the one in the index, which training compares it with")
        if entry.offsets[-1] <= size:
            f.seek(entry.offsets[-1])
            expected = end_of_archive(entry.offsets[-1])
            if f.read(len(expected) + 1) != expected:
                self._add(entry.url, "", "it does not end in zeros up to a multiple of 10,240 bytes")

    def _sequence(self, block: bytes, entry: ShardEntry, key: str, card: DatasetCard, rows: LedgerRows | None) -> None:
        seen = self._seen[entry.split]
        try:
            sequence = read_sequence(block, key, card)
        except DatasetError as e:
            self._add(entry.url, key, str(e))
            seen.unreadable += 1
            return
        problems = list(sequence_problems(sequence, card))
        for what in problems:
            self._add(entry.url, key, what)
        if problems:  # other checks would report the same problem
            seen.unreadable += 1
            return
        for name in self._taken_down.intersection(chunk.id for chunk in sequence.chunks):
            self._add(entry.url, key, f"it contains document {name}, which the card lists as taken down")
        for what in self._chunks.add(sequence):
            self._add(entry.url, key, what)
        for what in rows.problems(sequence, entry.split) if rows is not None else ():
            self._add(self._names[LEDGER], key, what)
        vision = int(sequence.spans["length"][sequence.spans["modality"] == VISION].sum())
        tokens = int(sequence.spans["length"].sum())
        counts = {"sequences": 1, "tokens": tokens, "vision_tokens": vision, "text_tokens": tokens - vision}
        seen.counts.update(counts | {"documents": sum(chunk.start == 0 for chunk in sequence.chunks)})

    def _totals(self, card: DatasetCard, shards: Counter[str]) -> None:
        """Check the totals of all sequences, if all could be read: otherwise the cause has been reported."""
        if any(seen.unreadable for seen in self._seen.values()):
            return
        for split, seen in self._seen.items():
            found = {name: seen.counts[name] for name in _COUNTED} | {"shards": shards[split]}
            for what in split_problems(card, split, found):
                self._add(CARD, "", what)
        for key, what in self._chunks.problems():
            self._add("", key, what)


def _left_out(card: DatasetCard) -> int:
    """Return the number of documents with tokens that the mixture excluded."""
    return sum(number for reason, number in card.left_out.items() if reason != EMPTY)
