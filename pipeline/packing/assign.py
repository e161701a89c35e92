"""Assigning a unit's documents to sequences with the packing plan and their ranks; defines what is sent to the shards.

Every unit works by itself: it knows at which rank its documents of each length begin (`Start`), so nothing needs to be
sorted over all documents. What it sends to a shard is one `Parcel`: the chunks, and the index rows of their documents,
compressed; about 90 bytes a document. No token travels. Of books, a few tokens before each cut are read, to move it to
the end of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.packing.chunks import ChunkColumns, Documents, ranks, split_chunks
from pipeline.packing.histogram_bins import Histogram, Integers
from pipeline.packing.length_histograms import SplitHistograms
from pipeline.packing.loss_weights import document_weights
from pipeline.packing.packing_plan import Stream
from pipeline.packing.permutation import permuted
from pipeline.packing.plan import Plan, SplitPlan
from pipeline.packing.sentence_ends import Sentences
from pipeline.runtime.token_store import Tokens
from schemas.dataset import shard_name
from schemas.records import TOKENS

CHUNKS = pa.schema(
    [
        ("sequence", pa.int64()),
        ("document", pa.int64()),  # row in the parcel's documents
        ("copy", pa.int64()),
        ("start", pa.int64()),
        ("length", pa.int64()),
        ("weight", pa.float64()),  # of a target, before the weights of its span and its modality
    ]
)


_SENT = (
    *("document_id", "kind", "split", "uri", "title", "source", "license"),
    *("unit", "batch", "row", "length", "frame_tokens", "spans"),
)
# Of a document: what a shard says of it, or finds its tokens by.
DOCUMENTS = pa.schema([TOKENS.field(name) for name in _SENT])


class Start(NamedTuple):
    """Of a unit, and for each split: how many items and texts of each of its lengths stand in the units before it."""

    unit: int
    items: Mapping[str, Integers]
    texts: Mapping[str, Integers]


class Parcel(NamedTuple):
    """What one unit sends to one shard: tables of CHUNKS and of records.TOKENS (see `pack_table`)."""

    chunks: bytes
    documents: bytes


class Chunks(NamedTuple):
    """Chunks [N] of documents."""

    sequence: Integers
    document: Integers
    copy: Integers
    start: Integers
    length: Integers
    weight: NDArray[np.float64]


class Ranks:
    """Hands out the starts of units, in their order."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[int, int]] = {}

    def start(self, unit: int, splits: Mapping[str, SplitHistograms]) -> Start:
        """Return where this unit starts, and count its documents for the units after it."""
        items = {name: self._next((name, "item"), split.item) for name, split in splits.items()}
        texts = {name: self._next((name, "text"), split.text) for name, split in splits.items()}
        return Start(unit, items, texts)

    def _next(self, key: tuple[str, str], histogram: Histogram) -> Integers:
        seen = self._seen.setdefault(key, {})
        lengths = histogram.lengths.tolist()
        first = np.array([seen.get(length, 0) for length in lengths], np.int64)
        seen.update(zip(lengths, (first + histogram.counts).tolist(), strict=True))
        return first


def assign(
    documents: Documents, plan: Plan, start: Start, store: Tokens, sentences: Sentences | None
) -> Iterator[tuple[str, Parcel]]:
    """Yield (shard, parcel) for all shards that hold a chunk of a document of this unit.

    `sentences` is needed where the plan's reach is not 0.
    """
    config = plan.config
    copies, _ = config.mixture.copies(
        documents.table,
        documents.draw,
        context_length=plan.context_length,
        text_factor=plan.text_factor,
        seed=config.seed,
    )
    for name in start.items:
        split = plan.splits[name]
        items, texts = split_chunks(documents, name, copies, context_length=plan.context_length)
        stream = split.packing.fill_free_space(
            texts.length, ranks(texts.length) + _first(start.texts[name], texts.length)
        )
        if split.packing.reach:
            assert sentences is not None
            stream = _at_sentences(stream, documents.table, texts, split.packing.reach, store, sentences)
        bins = split.packing.bins_of(items.length, ranks(items.length) + _first(start.items[name], items.length))
        document = np.concatenate([items.document, texts.document[stream.text]])
        copy = np.concatenate([items.copy, texts.copy[stream.text]])
        begin = np.concatenate([items.start, stream.start])
        chunks = Chunks(
            sequence=permuted(np.concatenate([bins, stream.bin]), split.sequences, config.seed, name),
            document=document,
            copy=copy,
            start=begin,
            length=np.concatenate([items.length, stream.length]),
            weight=_weights(documents.table, document, copy, begin, plan, split),
        )
        yield from _parcels(chunks, documents.table, plan, name)


def _first(first: Integers, length: Integers) -> Integers:
    """Return the rank at which this unit's chunks of each length begin, for all its chunks [N]."""
    return first[np.unique(length, return_inverse=True)[1]]


def _at_sentences(
    stream: Stream, table: pa.Table, texts: ChunkColumns, reach: int, store: Tokens, sentences: Sentences
) -> Stream:
    """Move the cuts within texts back to the ends of sentences that are within reach."""
    start, length = stream.start.copy(), stream.length.copy()
    places = list(zip(*(table[name].to_pylist() for name in ("unit", "batch", "row")), strict=True))
    for i in np.flatnonzero(stream.start > 0).tolist():
        # The chunk before keeps a token, wherever its own cut went.
        before = min(reach, int(stream.length[i - 1]) - 1)
        at, row = int(stream.start[i]), int(texts.document[stream.text[i]])
        unit, batch, place = places[row]
        tokens = store.read(unit, batch, place, at - before - 1, before + 2)
        back = sentences.back(tokens)
        start[i] -= back
        length[i] += back
        length[i - 1] -= back
    return Stream(stream.text, start, length, stream.bin)


def _weights(
    table: pa.Table, document: Integers, copy: Integers, start: Integers, plan: Plan, split: SplitPlan
) -> NDArray[np.float64]:
    if plan.config.loss_weighting == "token":
        return np.ones(len(document))
    return document_weights(table, document, copy, start, mean_targets=split.mean_targets)


def _parcels(chunks: Chunks, table: pa.Table, plan: Plan, split: str) -> Iterator[tuple[str, Parcel]]:
    count, shards = plan.splits[split].shards, plan.splits[split].shard_of(chunks.sequence)
    order = np.argsort(shards, kind="stable")
    # Taken once in the order of the shards and then sliced, as there may be many shards of few documents each.
    keys, document = np.unique(shards[order] * len(table) + chunks.document[order], return_inverse=True)
    documents = table.select(DOCUMENTS.names).take(keys % len(table)).combine_chunks()
    numbers, first_document = np.unique(keys // len(table), return_index=True)
    first_chunk = np.searchsorted(shards[order], numbers)
    columns = {name: values[order] for name, values in chunks._asdict().items()}
    chunks_of = np.diff(first_chunk, append=len(order))
    columns["document"] = document.reshape(-1) - np.repeat(first_document, chunks_of)
    sorted_chunks = pa.table(columns, CHUNKS)
    slices = zip(
        numbers, first_chunk, chunks_of, first_document, np.diff(first_document, append=len(keys)), strict=True
    )
    for number, at, size, begin, rows in (map(int, some) for some in slices):
        parcel = Parcel(pack_table(sorted_chunks.slice(at, size)), pack_table(documents.slice(begin, rows)))
        yield shard_name(split, number, count), parcel


def pack_table(table: pa.Table) -> bytes:
    """Return a table as one compressed record batch, without its schema: a parcel of one document is small, too."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(table.combine_chunks().to_batches()[0].serialize())
    return sink.getvalue().to_pybytes()


def unpack_table(data: bytes, schema: pa.Schema) -> pa.Table:
    """Return the table of `schema` that `pack_table` was given."""
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as source:
        return pa.Table.from_batches([pa.ipc.read_record_batch(pa.py_buffer(source.read()), schema)])
