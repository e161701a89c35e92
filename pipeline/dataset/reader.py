"""Reads single sequences of a packed dataset by key.

Keys increase within a shard, but not always by one (`longreel takedown` leaves gaps), so a key is found by binary
search: about 20 reads of one tar header among 10^6 sequences.
"""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.names import key_number, key_of
from schemas.dataset import DatasetCard
from schemas.errors import ConfigError, DatasetError
from schemas.files import inside
from schemas.shards.index import ShardEntry, checksum_at, checksum_of_sequence, read_checked_index
from schemas.shards.remote import open_sequence
from schemas.shards.sequence import PackedSequence, read_sequence
from schemas.shards.tar import BLOCK
from schemas.storage.location import Location


class Sequences:
    """Random access to the sequences of one dataset by shard name and key."""

    def __init__(self, directory: Location, card: DatasetCard) -> None:
        self._directory, self._card = directory, card
        self._shards = {entry.url: entry for entry in read_checked_index(directory, card)}

    def read(self, shard: str, key: str) -> PackedSequence:
        """Return a sequence; raises DatasetError if it is missing, altered, or not as Longreel writes it."""
        entry, i = self._find(shard, key)
        return self._read(entry, i, key)

    def read_at(self, shard: str, i: int) -> PackedSequence:
        """Return the sequence number `i` of a shard, from 0; raises as `read`."""
        entry = self._shards[shard]
        return self._read(entry, i, key_of(self._bytes(entry, entry.offsets[i], BLOCK)))

    def _read(self, entry: ShardEntry, i: int, key: str) -> PackedSequence:
        start, end = entry.offsets[i : i + 2]
        try:
            block = self._bytes(entry, start, end - start)
            if checksum_of_sequence(block) != checksum_at(entry.checksums, i):
                raise DatasetError("its bytes were altered: their checksum is not the one in the index")
            return read_sequence(block, key, self._card)
        except DatasetError as e:
            raise DatasetError(f"{self._directory / entry.url}, {key}: {e}; `longreel verify` says what else is") from e

    def tokens(self, shard: str, key: str, start: int, length: int) -> NDArray[Any]:
        """Return tokens [start, start + length) of a sequence; raises DatasetError if it is missing or altered."""
        entry, i = self._find(shard, key)
        dtype, context = self._card.vocabulary.dtype, self._card.context_length
        if not 0 <= start <= start + length <= context:
            raise DatasetError(f"{self._directory}: tokens {start}..{start + length} of {key}, which has {context}")
        path = inside(self._directory, entry.url)
        first, end = entry.offsets[i : i + 2]
        checksum = checksum_at(entry.checksums, i)
        with open_sequence(path, first, end, f"{path}, {key}", checksum=checksum) as sequence:
            sequence.fetch()
            return sequence.tokens(dtype, context, np.array([[start, start + length]]))[0]

    def _find(self, shard: str, key: str) -> tuple[ShardEntry, int]:
        entry = self._shards.get(shard)
        if entry is None:
            raise DatasetError(f"{self._directory} has no shard {shard!r} in its index; run `longreel verify`")
        number = key_number(key, entry.split)
        if number is None:
            raise ConfigError(
                f"{key!r} is not a key of the split {entry.split}; an example of a key is train-000000000"
            )
        i = bisect.bisect_left(range(entry.nsamples), number, key=lambda i: self._number(entry, i))
        if i == entry.nsamples or self._number(entry, i) != number:
            raise DatasetError(f"{self._directory / shard} does not hold {key}; run `longreel verify`")
        return entry, i

    def _number(self, entry: ShardEntry, i: int) -> int:
        number = key_number(key := key_of(self._bytes(entry, entry.offsets[i], BLOCK)), entry.split)
        if number is None:
            raise DatasetError(
                f"{self._directory / entry.url}, sequence {i}: {key!r} is not a key; run `longreel verify`"
            )
        return number

    def _bytes(self, entry: ShardEntry, start: int, length: int) -> bytes:
        path = inside(self._directory, entry.url)
        try:
            return path.read_range(start, length)
        except OSError as e:
            raise DatasetError(f"{path} cannot be read: {e.strerror}; run `longreel verify`") from e
        except EOFError as e:
            raise DatasetError(
                f"{path} ends before byte {start + length}: it was truncated; run `longreel verify`"
            ) from e
