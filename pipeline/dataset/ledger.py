"""Converts the chunks of a shard to spans of sequences and to rows of the ledger, vectorized over the shard.

A chunk contains the parts of its document's spans within its range. A part of a run of frames gets its share of the
time: frame i of n starts at start_s + i · (end_s - start_s) / n. A part of a text span keeps the time of the whole
span.

Axes: D documents, N chunks, M spans, Q sequences.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.content_named import content_named
from schemas.dataset_files import LEDGER as NAME
from schemas.dataset_files import StoredFile
from schemas.packed import SPAN_DTYPE
from schemas.records import LEDGER
from schemas.storage.location import Location
from schemas.tables import table_writer
from schemas.vocab import VISION

Integers = NDArray[np.int64]
_ROW_GROUP = 1 << 17
_FROM_DOCUMENT = ("document_id", "kind", "split", "uri", "title", "source", "license")


class ChunkTable(NamedTuple):
    """Chunks [N] of documents, in the order of their sequences."""

    document: Integers  # [N] row in the table of documents
    copy: Integers  # [N] copy of the document, from 0
    start: Integers  # [N] in tokens of the document
    length: Integers  # [N] in tokens
    weight: NDArray[np.float64]  # [N] loss weight of a target, before the modality multipliers
    first: Integers  # [Q + 1] sequence q has the chunks first[q]..first[q + 1]

    @property
    def sequence(self) -> Integers:
        """The sequence [N] of every chunk."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


class Clips(NamedTuple):
    """The spans [M] of the chunks, in order."""

    spans: NDArray[Any]  # [M] SPAN_DTYPE, as stored in the sequences
    first: Integers  # [Q + 1] sequence q has the spans first[q]..first[q + 1]
    chunk: Integers  # [M] row in the table of chunks
    document_start: Integers  # [M] in tokens of the document
    start_s: NDArray[np.float64]  # [M] in seconds; NaN if the span has no time
    end_s: NDArray[np.float64]  # [M]


def clip(chunks: ChunkTable, documents: pa.Table, *, text_weight: float, vision_weight: float) -> Clips:
    """Return the parts of the spans of `documents` [D] (records.TOKENS) that are within the chunks."""
    column = documents["spans"].combine_chunks()
    counts = pc.list_value_length(column).to_numpy()
    flat = column.flatten()
    begin, size = (flat.field(name).to_numpy() for name in ("start", "length"))
    # Each document has its own range of `stride` keys, so that one search covers all documents.
    stride = int(pc.max(documents["length"]).as_py()) + 1
    base = np.repeat(np.arange(len(documents)), counts) * stride
    at = chunks.document * stride + chunks.start
    low = np.searchsorted(base + begin + size, at, side="right")
    count = np.searchsorted(base + begin, at + chunks.length) - low
    chunk = np.repeat(np.arange(len(count)), count)
    span = np.arange(count.sum()) + np.repeat(low - (np.cumsum(count) - count), count)
    start = np.maximum(begin[span], chunks.start[chunk])
    end = np.minimum(begin[span] + size[span], (chunks.start + chunks.length)[chunk])
    modality, weight = (flat.field(name).to_numpy()[span] for name in ("modality", "weight"))
    frame = np.maximum(documents["frame_tokens"].to_numpy()[chunks.document[chunk]], 1)
    part = (modality == VISION) & (end - start < size[span])
    start_s, end_s = (pc.fill_null(flat.field(n), np.nan).to_numpy()[span] for n in ("start_s", "end_s"))
    frame_s = (end_s - start_s) / np.maximum(size[span] // frame, 1)  # not used for text
    first = np.searchsorted(chunk, chunks.first)
    return Clips(
        spans=_spans(
            chunks,
            chunk,
            end - start,
            modality,
            first,
            weight * np.where(modality == VISION, vision_weight, text_weight),
        ),
        first=first,
        chunk=chunk,
        document_start=start,
        start_s=np.where(part, start_s + (start - begin[span]) // frame * frame_s, start_s),
        end_s=np.where(part, start_s + (end - begin[span]) // frame * frame_s, end_s),
    )


def _spans(
    chunks: ChunkTable,
    chunk: Integers,
    length: Integers,
    modality: NDArray[np.int8],
    first: Integers,
    weight: NDArray[np.float64],
) -> NDArray[Any]:
    spans = np.zeros(len(chunk), SPAN_DTYPE)
    before = np.concatenate([[0], np.cumsum(length)])
    sequence = chunks.sequence[chunk]
    spans["start"] = before[:-1] - before[first[:-1]][sequence]
    spans["length"] = length
    spans["document"] = chunk - chunks.first[sequence]
    spans["modality"] = modality
    spans["weight"] = chunks.weight[chunk] * weight
    return spans


def shard_ledger(clips: Clips, chunks: ChunkTable, documents: pa.Table, *, keys: list[str], shard: str) -> pa.Table:
    """Return the rows of the ledger (records.LEDGER) for a shard; `keys` [Q] are those of its sequences."""
    sequence = chunks.sequence[clips.chunk]
    of_document = documents.select(_FROM_DOCUMENT).take(chunks.document[clips.chunk])
    columns = {
        "sequence": pa.array(keys, pa.string()).take(pa.array(sequence)),
        "shard": pa.repeat(shard, len(sequence)),
        "span": pa.array(np.arange(len(sequence)) - clips.first[:-1][sequence], pa.int32()),
        "copy": pa.array(chunks.copy[clips.chunk], pa.int32()),
        "document_start": pa.array(clips.document_start, pa.int64()),
        "start_s": pa.array(clips.start_s, from_pandas=True),  # NaN becomes null
        "end_s": pa.array(clips.end_s, from_pandas=True),
    }
    columns |= {name: pa.array(clips.spans[name]) for name in ("start", "length", "modality", "weight")}
    columns |= {name: of_document[name] for name in _FROM_DOCUMENT}
    return pa.table([columns[name] for name in LEDGER.names], schema=LEDGER)


def write_ledger(directory: Location, tables: Iterable[pa.Table]) -> StoredFile:
    """Write tables of records.LEDGER, in order, to the ledger of a dataset."""
    with content_named(directory, NAME) as draft, table_writer(draft.path, LEDGER, compression="zstd") as out:
        for table in tables:
            if len(table):  # an empty table would add an empty row group
                out.write_table(table, row_group_size=_ROW_GROUP)
    assert draft.stored is not None
    return draft.stored
