"""Writes a shard: its sequences one after the other, with their offsets and the running SHA-256 of the file."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from schemas.dataset_files import content_name
from schemas.shards.index import ShardEntry, checksum_of_sequence
from schemas.shards.tar import end_of_archive


class ShardWriter:
    """Appends sequences to an open file; `close` ends the archive and returns its index entry."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._offsets = [0]
        self._checksums: list[str] = []

    @property
    def sequences(self) -> int:
        """Number of sequences written."""
        return len(self._offsets) - 1

    def add(self, block: bytes) -> None:
        """Append the bytes of one sequence (`schemas.shards.sequence.sequence_bytes`)."""
        self._write(block)
        self._offsets.append(self._offsets[-1] + len(block))
        self._checksums.append(checksum_of_sequence(block))

    def close(self, name: str, split: str) -> ShardEntry:
        """End the archive and return the index entry; the caller closes the file. `name` is without the hash."""
        end = end_of_archive(self._offsets[-1])
        self._write(end)
        sha256 = self._digest.hexdigest()
        return ShardEntry(
            url=content_name(name, sha256),
            split=split,
            nsamples=self.sequences,
            filesize=self._offsets[-1] + len(end),
            sha256=sha256,
            offsets=tuple(self._offsets),
            checksums="".join(self._checksums),
        )

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
