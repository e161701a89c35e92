"""Writes a shard without some documents: repacks or drops their sequences and copies the others byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pipeline.dataset.names import key_of
from pipeline.dataset.removal.plan import ShardChange
from schemas.content_named import content_named
from schemas.dataset import DatasetCard
from schemas.dataset_files import plain_name
from schemas.errors import DatasetError
from schemas.shards.index import ShardEntry
from schemas.shards.sequence import PackedSequence, read_sequence, sequence_bytes
from schemas.shards.writer import ShardWriter
from schemas.storage.location import Location


def rewrite(
    path: Location, entry: ShardEntry, change: ShardChange, ids: Collection[str], card: DatasetCard
) -> ShardEntry | None:
    """Write the shard at `path` again without the documents `ids`; return None, without a file, if it is empty.

    The new shard is in the same folder, under another name. Raises DatasetError if the shard was modified, or contains
    other documents than the ledger lists.
    """
    name = plain_name(entry.url)
    with content_named(path.parent, name) as draft:
        with draft.path.open("wb") as f:
            shard = ShardWriter(f)
            for block in _remaining(path, entry, change, ids, card):
                shard.add(block)
            rewritten = shard.close(name, entry.split)
        draft.sha256 = rewritten.sha256
        if not rewritten.nsamples:
            draft.path.unlink()
    return rewritten if draft.stored else None


def repack(sequence: PackedSequence, ids: Collection[str]) -> bytes:
    """Return the bytes of a sequence without the documents `ids`; no bytes if it has no other documents."""
    keep = np.array([chunk.id not in ids for chunk in sequence.chunks])
    if not keep.any():
        return b""
    spans = sequence.spans[keep[sequence.spans["document"]]].copy()
    runs = [sequence.tokens[start : start + length] for start, length in spans[["start", "length"]].tolist()]
    tokens = np.zeros_like(sequence.tokens)
    tokens[: spans["length"].sum()] = np.concatenate(runs)
    spans["start"] = np.cumsum(spans["length"]) - spans["length"]
    spans["document"] = (np.cumsum(keep) - 1)[spans["document"]]
    chunks = [chunk for chunk, kept in zip(sequence.chunks, keep.tolist(), strict=True) if kept]
    return sequence_bytes(replace(sequence, tokens=tokens, spans=spans, chunks=chunks))


def _remaining(
    path: Location, entry: ShardEntry, change: ShardChange, ids: Collection[str], card: DatasetCard
) -> Iterator[bytes]:
    """Yield the bytes of each remaining sequence."""
    repacked, dropped = set[str](), set[str]()
    for block in _blocks(path, entry):
        key = key_of(block)
        if key not in change.repacked and key not in change.dropped:
            yield block
            continue
        try:
            sequence = read_sequence(block, key, card)
        except DatasetError as e:
            raise DatasetError(f"{path}, {key}: {e}; nothing was changed, run `longreel verify`") from e
        if any(chunk.id in ids for chunk in sequence.chunks):
            rest = repack(sequence, ids)
            (repacked if rest else dropped).add(key)
            if rest:
                yield rest
    if different := sorted((repacked ^ change.repacked) | (dropped ^ change.dropped)):
        raise DatasetError(f"{path}: {different[0]} has other documents than the ledger lists; run `longreel verify`")


def _blocks(path: Location, entry: ShardEntry) -> Iterator[bytes]:
    """Yield the bytes of each sequence; raises DatasetError at the end if the hash of the shard differs."""
    digest = hashlib.sha256()
    try:
        with path.open() as f:
            for start, end in pairwise(entry.offsets):
                block = f.read(end - start)
                digest.update(block)
                yield block
            digest.update(f.read())
    except OSError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}; run `longreel verify`") from e
    if digest.hexdigest() != entry.sha256:
        raise DatasetError(
            f"{path} was modified, so nothing was changed: its SHA-256 is not {entry.sha256}; run `longreel verify`"
        )
