"""Assign the documents of a unit to sequences, and group the result by shard.

Units are assigned independently. A unit receives the rank of its first document of each length (`UnitStart`), so no
global sort is needed. It emits at most one `ShardInput` per shard: the chunks and the index rows of their documents, as
compressed Arrow record batches of about 90 bytes per document. Tokens are not shuffled through Beam. The only tokens
read here are those before each cut in a book, to move the cut to the end of a sentence.
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
from pipeline.packing.plan import DatasetPlan, SplitPlan
from pipeline.packing.sentence_ends import SentenceEnds
from pipeline.runtime.token_store import Tokens
from schemas.dataset_files import shard_name
from schemas.records import TOKENS

CHUNKS = pa.schema(
    [
        ("sequence", pa.int64()),
        ("document", pa.int64()),  # row of ShardInput.documents
        ("copy", pa.int64()),
        ("start", pa.int64()),
        ("length", pa.int64()),
        ("weight", pa.float64()),  # loss weight per target, before the weights of span and modality
    ]
)

_DOCUMENT_COLUMNS = (
    *("document_id", "kind", "split", "uri", "title", "source", "license"),
    *("unit", "batch", "row", "length", "frame_tokens", "spans"),
)
# The columns that a shard records about a document or needs to locate its tokens.
DOCUMENTS = pa.schema([TOKENS.field(name) for name in _DOCUMENT_COLUMNS])


class UnitStart(NamedTuple):
    """The rank of a unit's first item and first text of each length, by split.

    Arrays are parallel to the lengths of the unit's histograms (`SplitHistograms.item` and `.text`).
    """

    unit: int
    items: Mapping[str, Integers]
    texts: Mapping[str, Integers]


class ShardInput(NamedTuple):
    """The contribution of one unit to one shard: tables of CHUNKS and DOCUMENTS, serialized by `pack_table`."""

    chunks: bytes
    documents: bytes


class AssignedChunks(NamedTuple):
    """The columns [N] of CHUNKS, with `document` as a row of the unit's documents."""

    sequence: Integers
    document: Integers
    copy: Integers
    start: Integers
    length: Integers
    weight: NDArray[np.float64]


class RankCounter:
    """Assigns ranks to documents of equal length; units must be passed in order."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[int, int]] = {}

    def start(self, unit: int, splits: Mapping[str, SplitHistograms]) -> UnitStart:
        """Return the first ranks of this unit, and advance the counters by its documents."""
        items = {name: self._next((name, "item"), split.item) for name, split in splits.items()}
        texts = {name: self._next((name, "text"), split.text) for name, split in splits.items()}
        return UnitStart(unit, items, texts)

    def _next(self, key: tuple[str, str], histogram: Histogram) -> Integers:
        seen = self._seen.setdefault(key, {})
        lengths = histogram.lengths.tolist()
        first = np.array([seen.get(length, 0) for length in lengths], np.int64)
        seen.update(zip(lengths, (first + histogram.counts).tolist(), strict=True))
        return first


def assign(
    documents: Documents, plan: DatasetPlan, start: UnitStart, store: Tokens, sentences: SentenceEnds | None
) -> Iterator[tuple[str, ShardInput]]:
    """Yield (shard name, shard input) for each shard that holds a chunk of this unit's documents.

    `sentences` must not be None if a packing plan has a nonzero `reach`.
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
        chunks = AssignedChunks(
            sequence=permuted(np.concatenate([bins, stream.bin]), split.sequences, config.seed, name),
            document=document,
            copy=copy,
            start=begin,
            length=np.concatenate([items.length, stream.length]),
            weight=_weights(documents.table, document, copy, begin, plan, split),
        )
        yield from _shard_inputs(chunks, documents.table, plan, name)


def _first(first: Integers, length: Integers) -> Integers:
    """Return, for each chunk [N], the rank of the unit's first chunk of that length."""
    return first[np.unique(length, return_inverse=True)[1]]


def _at_sentences(
    stream: Stream, table: pa.Table, texts: ChunkColumns, reach: int, store: Tokens, sentences: SentenceEnds
) -> Stream:
    """Move each cut inside a text back to the end of a sentence, by at most `reach` tokens."""
    start, length = stream.start.copy(), stream.length.copy()
    locations = list(zip(*(table[name].to_pylist() for name in ("unit", "batch", "row")), strict=True))
    for i in np.flatnonzero(stream.start > 0).tolist():
        # The previous chunk keeps at least one token, even if its own start moved back.
        before = min(reach, int(stream.length[i - 1]) - 1)
        at, row = int(stream.start[i]), int(texts.document[stream.text[i]])
        unit, batch, index = locations[row]
        tokens = store.read(unit, batch, index, at - before - 1, before + 2)
        moved = sentences.tokens_to_move(tokens)
        start[i] -= moved
        length[i] += moved
        length[i - 1] -= moved
    return Stream(stream.text, start, length, stream.bin)


def _weights(
    table: pa.Table, document: Integers, copy: Integers, start: Integers, plan: DatasetPlan, split: SplitPlan
) -> NDArray[np.float64]:
    if plan.config.loss_weighting == "token":
        return np.ones(len(document))
    return document_weights(table, document, copy, start, mean_targets=split.mean_targets)


def _shard_inputs(
    chunks: AssignedChunks, table: pa.Table, plan: DatasetPlan, split: str
) -> Iterator[tuple[str, ShardInput]]:
    count, shards = plan.splits[split].shards, plan.splits[split].shard_of(chunks.sequence)
    order = np.argsort(shards, kind="stable")
    # One `take` in shard order, then slices: a `take` per shard is slow if there are many shards of few documents.
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
        shard_input = ShardInput(pack_table(sorted_chunks.slice(at, size)), pack_table(documents.slice(begin, rows)))
        yield shard_name(split, number, count), shard_input


def pack_table(table: pa.Table) -> bytes:
    """Serialize a table as one compressed record batch without its schema, which would dominate small tables."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(table.combine_chunks().to_batches()[0].serialize())
    return sink.getvalue().to_pybytes()


def unpack_table(data: bytes, schema: pa.Schema) -> pa.Table:
    """Return the table of schema `schema` that `pack_table` serialized."""
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as source:
        return pa.Table.from_batches([pa.ipc.read_record_batch(pa.py_buffer(source.read()), schema)])
