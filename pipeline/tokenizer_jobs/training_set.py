"""The table of a tokenizer's training set, stored next to its weights, so that an evaluation can exclude it.

A row is a video or image: its URI, the hash of its content, and the signature for near-duplicate search, which also
recognizes re-encoded copies and parts of a training video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.dedup.similarity import Signature
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.video.analysis.types import VideoStats
from pipeline.video.decoder import Decoder
from schemas.errors import DatasetError
from schemas.files import Place
from schemas.fingerprint import sha256_file
from schemas.records import SIGNATURES
from schemas.storage.location import Location
from schemas.tables import read_table, write_table

TRAINING_TABLE = pa.schema(
    [pa.field("uri", pa.string(), nullable=False), *(f for f in SIGNATURES if f.name not in {"activity", "thumbnail"})]
)
_SIMILARITY = VideoSimilarity()


def training_table(weights: Place) -> Place:
    """Return the place of the table that belongs to these weights."""
    return weights.with_name(f"{weights.stem}.trained-on.parquet")


def signature_of(decoder: Decoder, path: Path) -> Signature:
    """Return the signature of a video or image; raises InputError."""
    stats: VideoStats = decoder.analyze(path)
    kind = "image" if stats.info.is_picture else "video"
    return Signature(stats.content_id or sha256_file(path), kind, stats.times_s, stats.durations_s, stats.signatures)


def write_training_table(path: Path, items: Iterable[tuple[str, Signature]]) -> None:
    """Write the table of items (uri, signature)."""
    write_table(path, pa.Table.from_pylist([_row(uri, signature) for uri, signature in items], TRAINING_TABLE))


def read_training_table(path: Location | Path) -> list[tuple[str, Signature]]:
    """Return the items (uri, signature) of a table; raises DatasetError if it is not such a table."""
    try:
        table = read_table(path)
    except DatasetError as e:
        raise DatasetError(f"{path} is not a table of a training set: {e}") from e
    if not table.schema.equals(TRAINING_TABLE):
        raise DatasetError(f"{path} is not a table of a training set: its columns are {', '.join(table.column_names)}")
    return list(_items(table))


class TrainingSet:
    """Finds overlaps of items with the training set. Uses 300 bytes plus hash keys per second of video."""

    def __init__(self, items: Iterable[tuple[str, Signature]]) -> None:
        self._items = [(uri, signature, np.unique(_SIMILARITY.hash_keys(signature))) for uri, signature in items]

    def shared(self, signature: Signature) -> str | None:
        """Describe the overlap of `signature` with the training set, or return None."""
        for uri, other, _ in self._items:
            if signature.content_id == other.content_id:
                return f"in the training set, as {uri}"
        keys = np.unique(_SIMILARITY.hash_keys(signature))
        for uri, other, others in self._items:
            if np.isin(keys, others).sum() >= _SIMILARITY.min_collisions and (
                found := _SIMILARITY.compare(signature, other)
            ):
                return f"{found.containment_a:.0%} of it is in the training set, in {uri}"
        return None


def _row(uri: str, signature: Signature) -> dict[str, Any]:
    return {"uri": uri, **{name: getattr(signature, name) for name in TRAINING_TABLE.names if name != "uri"}}


def _items(table: pa.Table) -> Iterator[tuple[str, Signature]]:
    for row in table.to_pylist():
        starts, lengths = (np.asarray(row[name], np.float64) for name in ("starts", "lengths"))
        yield row["uri"], Signature(row["content_id"], row["kind"], starts, lengths, tuple(row["samples"]))
