"""A shard without some documents: their sequences repacked or dropped, the others copied byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline.dataset.forget.plan import ShardChange
from pipeline.dataset.names import key_of
from schemas.dataset import DatasetCard, ShardEntry
from schemas.errors import DatasetError
from schemas.files import atomic
from schemas.shards.sequence import PackedSequence, read_sequence, sequence_bytes
from schemas.shards.writer import ShardWriter


def rewrite(
    path: Path, folder: Path, entry: ShardEntry, change: ShardChange, ids: Collection[str], card: DatasetCard
) -> ShardEntry | None:
    """Write the shard at `path` into `folder` without the documents `ids`; None, and no file, where nothing is left.

    Raises DatasetError where the shard is not what was packed, or holds other documents than the ledger says.
    """
    with atomic(folder / entry.url) as temporary, temporary.open("wb") as f:
        shard = ShardWriter(f)
        for block in _left(path, entry, change, ids, card):
            shard.add(block)
        rewritten = shard.close(entry.url, entry.split)
    if not rewritten.nsamples:
        (folder / entry.url).unlink()
        return None
    return rewritten


def repack(sequence: PackedSequence, ids: Collection[str]) -> bytes:
    """Return the bytes of a sequence without the documents `ids`, the rest moved up; none where nothing is left."""
    keep = np.array([chunk.id not in ids for chunk in sequence.chunks])
    if not keep.any():
        return b""
    spans = sequence.spans[keep[sequence.spans["document"]]].copy()
    parts = [sequence.tokens[start : start + length] for start, length in spans[["start", "length"]].tolist()]
    tokens = np.zeros_like(sequence.tokens)
    tokens[: spans["length"].sum()] = np.concatenate(parts)
    spans["start"] = np.cumsum(spans["length"]) - spans["length"]
    spans["document"] = (np.cumsum(keep) - 1)[spans["document"]]
    chunks = [chunk for chunk, stays in zip(sequence.chunks, keep.tolist(), strict=True) if stays]
    return sequence_bytes(replace(sequence, tokens=tokens, spans=spans, chunks=chunks))


def _left(
    path: Path, entry: ShardEntry, change: ShardChange, ids: Collection[str], card: DatasetCard
) -> Iterator[bytes]:
    """Yield the bytes of each sequence that is left."""
    repacked, dropped = set[str](), set[str]()
    for block in _blocks(path, entry):
        key = key_of(block)
        if key not in change.repacked and key not in change.dropped:
            yield block
            continue
        try:
            sequence = read_sequence(block, key, card)
        except DatasetError as e:
            raise DatasetError(f"{path}, {key}: {e}; nothing was forgotten, run `longreel verify`") from e
        if any(chunk.id in ids for chunk in sequence.chunks):
            made = repack(sequence, ids)
            (repacked if made else dropped).add(key)
            yield from [made] if made else []
    if odd := sorted((repacked ^ change.repacked) | (dropped ^ change.dropped)):
        raise DatasetError(f"{path}: {odd[0]} holds other documents than the ledger says; run `longreel verify`")


def _blocks(path: Path, entry: ShardEntry) -> Iterator[bytes]:
    """Yield the bytes of each sequence; raises DatasetError at the end where the shard is not what was packed."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as f:
            for start, end in pairwise(entry.offsets):
                block = f.read(end - start)
                digest.update(block)
                yield block
            digest.update(f.read())
    except OSError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}; run `longreel verify`") from e
    if digest.hexdigest() != entry.sha256:
        raise DatasetError(f"{path} was altered, so nothing was forgotten; run `longreel verify`")
