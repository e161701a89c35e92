"""Random access to the sequences of a packed dataset: one sequence is one read at its byte offset.

Every sequence is read whole the first time and compared with its checksum in the index, once, which finds altered bytes
and swapped sequences. A caller that needs only some of the tokens (sequence parallelism over several hosts) passes
their ranges; from the second time on, only the headers, these ranges and the spans are read. Sequences are addressed by
index, so keys and shard names may have gaps. When `longreel takedown` or `longreel pack` replaces the dataset, its old
shards are deleted, and reading one of them raises an error that says so.

Of a dataset in an object store, the same bytes are read, by ranged requests, those of one sequence at once.

Axes: S sequence, M spans, R ranges of a sequence, n tokens in them.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from schemas.dataset import REPAIR, DatasetCard, read_card
from schemas.dataset_files import CARD
from schemas.errors import ConfigError, DamagedSequence, DatasetError
from schemas.files import inside
from schemas.fingerprint import fingerprint
from schemas.packed import ATTENTIONS, Attention, check_spans
from schemas.shards.index import ShardEntry, checksum_at, read_checked_index
from schemas.shards.ranged import SequenceFile
from schemas.shards.remote import RemoteSequence
from schemas.storage.location import Location, located
from schemas.storage.store import Stat
from schemas.text_tokenizer import copy_files

# Fraction of the tokens from which one read of the whole sequence is cheaper than one read per range. A process that
# holds half of a row, and the first token of each next stripe as a target, is below it.
_WHOLE_READ_FRACTION = 0.75
_REQUESTS = 32  # in flight while the sizes of shards are compared


class PackedSplit:
    """Random access to one split of one or more packed datasets, concatenated; `sizes` has their numbers of sequences.

    All must have the same context length, attention and vocabulary. The constructor compares the size of every shard
    with the index, so a missing or truncated shard is reported before the first step. Reading is thread-safe and keeps
    no file open.
    """

    def __init__(self, directories: Sequence[Location | Path], split: str) -> None:
        if not directories:
            raise ConfigError("dataset must name at least one packed dataset directory, got none")
        cards = {directory: read_card(directory) for directory in map(located, directories)}
        named = [located(directory) for directory in directories]  # one that is named twice counts twice
        first = next(iter(cards.values()))
        _check_same(cards)
        self.split = split
        self.context_length = first.context_length
        self.attention = _attention(next(iter(cards)), first)
        self.vocabulary = first.vocabulary
        prints = [cards[directory].fingerprint for directory in named]
        self.fingerprint = prints[0] if len(prints) == 1 else fingerprint(prints)
        found = {directory: _shards(directory, cards, split) for directory in cards}
        shards = [(inside(directory, shard.url), shard) for directory in named for shard in found[directory]]
        self.sizes = [sum(shard.nsamples for shard in found[directory]) for directory in named]
        self._whole = np.array([[0, self.context_length]])
        self._cards = cards
        self._places = [place for place, _ in shards]
        self._paths = [str(place.local()) if place.is_local else None for place in self._places]  # str opens faster
        self._offsets = [np.array(shard.offsets, np.int64) for _, shard in shards]  # smaller than a list
        self._checksums = [shard.checksums for _, shard in shards]
        self._ends = list(itertools.accumulate(shard.nsamples for _, shard in shards))
        self._checked = np.zeros(len(self), np.bool_)  # sequences that were intact when they were first read
        if not len(self):
            have = ", ".join(sorted({name for card in cards.values() for name in card.splits})) or "none"
            raise DatasetError(
                f"{', '.join(map(str, cards))} has no sequences in the split {split!r} (it has: {have}). "
                "Pack a dataset with more documents, or with a larger share of them in this split."
            )

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def all_splits(self) -> frozenset[str]:
        """The names of the splits that have sequences in any of the datasets."""
        return frozenset(name for card in self._cards.values() for name, s in card.splits.items() if s.sequences)

    @property
    def mean_document(self) -> float:
        """The mean number of tokens of a document, or of a part of one that is packed apart."""
        found = [card.splits[self.split] for card in self._cards.values() if self.split in card.splits]
        return sum(split.tokens for split in found) / max(1, sum(split.documents for split in found))

    @property
    def is_remote(self) -> bool:
        """Whether any of its shards is in an object store, so that reading one takes a request."""
        return None in self._paths

    def copy_text_tokenizer(self, folder: Path) -> None:
        """Copy the text tokenizer of the datasets to `folder`, if one of them has it: all have the same ids."""
        for directory, card in self._cards.items():
            if (source := card.text_tokenizer_folder(directory)) is not None:
                copy_files(source, folder, {file.name.rpartition("/")[2]: file.sha256 for file in card.text_tokenizer})
                return

    def read(self, index: int, *, ranges: NDArray[np.int64] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return tokens [S] in the vocabulary's dtype, and spans [M]; `index` is in 0..len-1.

        With `ranges` [R, 2], sorted and disjoint, returns the tokens [n] of the half-open ranges, concatenated. Other
        tokens are not read again unless most of the sequence is requested. Arrays may be read-only. Raises
        DamagedSequence, with the path of the shard and the number of the sequence in it, if the bytes of the sequence
        cannot be read or were altered; DatasetError if the dataset was replaced.
        """
        try:
            return self._read(index, ranges)
        except DamagedSequence as e:
            directory = self._places[bisect.bisect_right(self._ends, index)].parent
            _require_same_card(directory, self._cards[directory], e)
            raise

    def _read(self, index: int, ranges: NDArray[np.int64] | None) -> tuple[NDArray[Any], NDArray[Any]]:
        wanted = self._whole if ranges is None else ranges
        with self._sequence(index) as sequence:
            is_most = ranges is None or np.diff(ranges).sum() >= _WHOLE_READ_FRACTION * self.context_length
            if is_most or not self._checked[index]:
                sequence.fetch(is_checked=bool(self._checked[index]))
                self._checked[index] = True
            elif isinstance(sequence, RemoteSequence):
                sequence.request(self.vocabulary.dtype, self.context_length, wanted)
            tokens, end = sequence.tokens(self.vocabulary.dtype, self.context_length, wanted)
            spans = sequence.spans(end)
        check_spans(spans, length=self.context_length, documents=_chunks(spans), where=sequence.where)
        if tokens.max(initial=0) >= self.vocabulary.size:
            raise sequence.error(f"token {tokens.max()} is outside the vocabulary of {self.vocabulary.size}")
        return tokens, spans

    def _sequence(self, index: int) -> SequenceFile:
        shard = bisect.bisect_right(self._ends, index)
        i = index - (self._ends[shard - 1] if shard else 0)
        start, end = self._offsets[shard][i : i + 2].tolist()
        checksum = checksum_at(self._checksums[shard], i)
        where = f"{self._places[shard]}, sequence {i}"
        if (path := self._paths[shard]) is None:
            return RemoteSequence(self._places[shard], start, end, where, checksum=checksum)
        return SequenceFile(path, start, end, where, checksum=checksum)


def _shards(directory: Location, cards: Mapping[Location, DatasetCard], split: str) -> list[ShardEntry]:
    """Return the shards of a split, after a comparison of their sizes with the index."""
    try:
        shards = [shard for shard in read_checked_index(directory, cards[directory]) if shard.split == split]
        places = [inside(directory, shard.url) for shard in shards]
        with ThreadPoolExecutor(1 if directory.is_local else _REQUESTS) as pool:
            for place, shard, found in zip(places, shards, pool.map(Location.stat, places), strict=True):
                _check_size(place, shard, found)
    except DatasetError as e:
        _require_same_card(directory, cards[directory], e)
        raise
    return shards


def _require_same_card(directory: Location, card: DatasetCard, cause: DatasetError) -> None:
    """Raise DatasetError if the dataset was replaced since its card was read."""
    try:
        is_same = read_card(directory) == card
    except DatasetError:  # `cause` says more
        return
    if not is_same:
        raise DatasetError(
            f"{directory} was replaced by `longreel takedown` or `longreel pack` while it was read, and its old shards "
            "were deleted; start the command again to read the new dataset"
        ) from cause


def _check_same(cards: Mapping[Location, DatasetCard]) -> None:
    """Raise ConfigError or VocabularyMismatch if the datasets cannot be used in one run."""
    (ours, first), *others = cards.items()
    for theirs, card in others:
        first.vocabulary.require_same(card.vocabulary, ours=str(ours), theirs=str(theirs))
        if card.context_length != first.context_length:
            raise ConfigError(
                f"{ours} has a context of {first.context_length} tokens and {theirs} of "
                f"{card.context_length}: train on one context length at a time"
            )
        if card.attention != first.attention:
            raise ConfigError(
                f"{ours} was packed for attention over the {first.attention} and {theirs} over the {card.attention}: "
                "train on one kind at a time, or pack one of them again with the other's `attention`"
            )


def _attention(directory: Location, card: DatasetCard) -> Attention:
    if card.attention not in ATTENTIONS:
        raise DatasetError(f"{directory / CARD}: attention is {card.attention!r}, known are {', '.join(ATTENTIONS)}")
    return cast(Attention, card.attention)


def _check_size(place: Location, shard: ShardEntry, found: Stat | None) -> None:
    if found is None:
        raise DatasetError(f"{place} is missing; the index lists it with {shard.filesize} bytes. {REPAIR}")
    actual = found.size
    if actual != shard.filesize or shard.offsets[-1] > actual:
        raise DatasetError(
            f"{place} has {actual} bytes, the index says {shard.filesize}: it was truncated or altered. {REPAIR}"
        )


def _chunks(spans: NDArray[Any]) -> int:
    """Return the number of document chunks in `spans`; `check_spans` verifies that they are 0..n-1 in order."""
    names = spans.dtype.names or ()
    return int(spans["document"].max(initial=-1)) + 1 if "document" in names else 0
