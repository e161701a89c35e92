"""Sort the documents of a unit into the global order, and split them into the chunks to be packed.

`documents_of` sorts a unit's index rows by a hash of the item id; the clips of an item are adjacent. Units are ranges
of that hash (`schemas.fingerprint.bucket`), so the rank of a document does not depend on the number of units.
`split_chunks` returns items, which are packed whole (documents, and chunks of visual documents that exceed the
context), and texts, which can be cut between any two tokens.

Cost: about 10 microseconds per document, plus the search for cut points in long videos. Memory: one unit's index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.kinds.registry import kinds, names_of_splittable_kinds
from pipeline.packing.cut_points import Spans, cut_points, cut_video
from pipeline.packing.digest import check_spans
from pipeline.packing.histogram_bins import Integers
from schemas.errors import DatasetError
from schemas.records import SPLITS, item_of


@dataclass(frozen=True, eq=False)
class Documents:
    """Index rows (records.TOKENS) of a unit's documents, sorted by item hash, and a hash `draw` [D] of each id."""

    table: pa.Table
    draw: NDArray[np.uint64]


class ChunkColumns(NamedTuple):
    """Chunks [N] of documents, and the lengths of their unsplittable units (items, frames, text spans)."""

    document: Integers  # row of Documents.table
    copy: Integers
    start: Integers
    length: Integers
    unsplittable: Integers  # [A] lengths


def documents_of(table: pa.Table) -> Documents:
    """Drop the index rows of documents without tokens, sort the others, and validate them.

    Raises DatasetError for a duplicate document, an unknown kind or split, or spans that do not cover the document.
    """
    table = table.filter(pc.is_null(table["reason"])).combine_chunks()
    ids = table["document_id"].to_pylist()
    order = np.lexsort((np.array(ids, object), _hashes(map(item_of, ids))[:, 0])) if ids else np.zeros(0, np.int64)
    table = table.take(order)
    _check(table)
    return Documents(table, _hashes(ids)[order, 1].astype(np.uint64))


def _hashes(ids: Iterable[str]) -> NDArray[Any]:
    """Return the SHA-256 of each id as four 64-bit integers [N, 4]."""
    return np.frombuffer(b"".join(hashlib.sha256(i.encode()).digest() for i in ids), ">u8").reshape(-1, 4)


def _check(table: pa.Table) -> None:
    for column, known in (("kind", tuple(kinds())), ("split", SPLITS)):
        if unknown := sorted(set(pc.unique(table[column]).to_pylist()) - set(known)):
            raise DatasetError(f"the token store has the {column} {unknown[0]!r}; known are {', '.join(known)}")
    ids = pc.value_counts(table["document_id"])
    if len(ids) < len(table):
        duplicate = ids.filter(pc.greater(ids.field("counts"), 1))[0]["values"].as_py()
        raise DatasetError(
            f"document {duplicate} is in the token store twice; run `longreel select` and `longreel tokenize` again"
        )
    check_spans(table)


def split_chunks(
    documents: Documents, split: str, copies: Integers, *, context_length: int
) -> tuple[ChunkColumns, ChunkColumns]:
    """Return the items and the texts of a split; document d contributes `copies[d]` copies.

    Raises ConfigError if a frame is longer than the context.
    """
    table = documents.table
    in_split = np.asarray(table["split"]) == split
    kind, length = np.asarray(table["kind"]), table["length"].to_numpy()
    is_splittable = np.isin(kind, names_of_splittable_kinds())
    whole = in_split & ~is_splittable & (length <= context_length)
    text = _repeated(np.flatnonzero(in_split & is_splittable), copies, length)
    parts = [_repeated(np.flatnonzero(whole), copies, length)]
    for row in np.flatnonzero(in_split & ~is_splittable & (length > context_length) & (copies > 0)).tolist():
        parts.append(_long(table, row, int(copies[row]), context_length))
    return _sorted(ChunkColumns(*(np.concatenate(column) for column in zip(*parts, strict=True)))), text


def _repeated(rows: Integers, copies: Integers, length: Integers) -> ChunkColumns:
    times = copies[rows]
    document = np.repeat(rows, times)
    copy = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return ChunkColumns(document, copy, np.zeros_like(document), length[document], length[document])


def _long(table: pa.Table, row: int, copies: int, context_length: int) -> ChunkColumns:
    spans = table["spans"][row].values
    start, length, modality = (spans.field(name).to_numpy() for name in ("start", "length", "modality"))
    where = f"document {table['document_id'][row]} ({table['uri'][row]})"
    frame_tokens = table["frame_tokens"][row].as_py()
    points = cut_points(
        Spans(start, length, modality), frame_tokens=frame_tokens, context_length=context_length, where=where
    )
    starts, lengths = np.array(cut_video(points, context_length=context_length, where=where), np.int64).T
    unsplittable = np.diff(points, prepend=0)
    return ChunkColumns(
        document=np.full(copies * len(starts), row),
        copy=np.repeat(np.arange(copies), len(starts)),
        start=np.tile(starts, copies),
        length=np.tile(lengths, copies),
        unsplittable=np.tile(unsplittable[unsplittable > 1], copies),
    )


def _sorted(parts: ChunkColumns) -> ChunkColumns:
    order = np.lexsort((parts.start, parts.copy, parts.document))
    document, copy, start, length = (column[order] for column in parts[:4])
    return ChunkColumns(document, copy, start, length, parts.unsplittable)


def ranks(length: Integers) -> Integers:
    """Return the rank of each element of `length` [N] among the elements of equal value."""
    order = np.argsort(length, kind="stable")
    ordered = length[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    rank = np.empty(len(length), np.int64)
    rank[order] = np.arange(len(length)) - np.repeat(first, np.diff(first, append=len(length)))
    return rank
