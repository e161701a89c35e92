"""What a tokenizer was trained on, in a table beside its weights, so that it is never judged by the same pictures.

A row is a video or image: where it was, the hash of its content, and the signature that near-duplicates are found by.
So a re-encoded copy of a training video, or a part of one, is known again wherever it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedup.similarity import Signature
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.video.analysis.types import VideoStats
from pipeline.video.decoder import Decoder
from schemas.errors import DatasetError
from schemas.files import atomic
from schemas.fingerprint import sha256_file
from schemas.records import SIGNATURES

TRAINED_ON = pa.schema(
    [pa.field("uri", pa.string(), nullable=False), *(f for f in SIGNATURES if f.name != "thumbnail")]
)
_SIMILARITY = VideoSimilarity()


def beside(weights: Path) -> Path:
    """Return where the table of these weights is."""
    return weights.with_suffix(".trained-on.parquet")


def signature_of(decoder: Decoder, path: Path) -> Signature:
    """Look at a video or image; raises InputError."""
    stats: VideoStats = decoder.analyze(path)
    kind = "image" if stats.info.is_picture else "video"
    return Signature(stats.content_id or sha256_file(path), kind, stats.times_s, stats.durations_s, stats.signatures)


def write_trained_on(path: Path, items: Iterable[tuple[str, Signature]]) -> None:
    """Write the table of items given as (uri, signature)."""
    with atomic(path) as temporary:
        pq.write_table(pa.Table.from_pylist([_row(uri, signature) for uri, signature in items], TRAINED_ON), temporary)


def read_trained_on(path: Path) -> list[tuple[str, Signature]]:
    """Read such a table; raises DatasetError where it is none."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{path}: not a table of what was trained on: {e}") from e
    if not table.schema.equals(TRAINED_ON):
        raise DatasetError(
            f"{path}: not a table of what was trained on: its columns are {', '.join(table.column_names)}"
        )
    return list(_items(table))


class TrainedOn:
    """Finds what an item has in common with items that were trained on. Holds 300 bytes and keys for each second."""

    def __init__(self, items: Iterable[tuple[str, Signature]]) -> None:
        self._items = [(uri, signature, np.unique(_SIMILARITY.hash_keys(signature))) for uri, signature in items]

    def shared(self, signature: Signature) -> str | None:
        """Say what `signature` shares with the first of them that it shares anything with, or None."""
        for uri, other, _ in self._items:
            if signature.content_id == other.content_id:
                return f"was trained on, as {uri}"
        keys = np.unique(_SIMILARITY.hash_keys(signature))
        for uri, other, others in self._items:
            if np.isin(keys, others).sum() >= _SIMILARITY.min_collisions and (
                found := _SIMILARITY.compare(signature, other)
            ):
                return f"{found.containment_a:.0%} of it was trained on, in {uri}"
        return None


def _row(uri: str, signature: Signature) -> dict[str, Any]:
    return {"uri": uri, **{name: getattr(signature, name) for name in TRAINED_ON.names if name != "uri"}}


def _items(table: pa.Table) -> Iterator[tuple[str, Signature]]:
    for row in table.to_pylist():
        starts, lengths = (np.asarray(row[name], np.float64) for name in ("starts", "lengths"))
        yield row["uri"], Signature(row["content_id"], row["kind"], starts, lengths, tuple(row["samples"]))
