"""The packing plan: which piece of which document lies in which sequence. Arrays only; no token is read.

Each split is packed for itself (`arrange`); the order of its sequences is a seeded shuffle, and within a sequence
documents stand from long to short, and books, which fill what is left, last. The plan depends on the documents and the
configuration, not on the order of the table's rows.

Cost: sorting the table, a few passes over arrays, one search a book. It holds a sorted copy of the table, 40 bytes a
piece, and 8 bytes a frame of the videos that are longer than the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.arrange import LongVideo, arrange
from pipeline.bins import Integers
from pipeline.cuts import SHORTEST, Spans, cut_points
from pipeline.digest import digest_array, digest_documents
from pipeline.weighting import LossWeighting, document_weights
from schemas.dataset import SCHEMA_VERSION
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import fingerprint
from schemas.records import KINDS, SPLITS
from schemas.vocab import Vocabulary

SHORTEST_CONTEXT = 16


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """How documents are packed and weighted."""

    loss_weighting: LossWeighting = "token"
    """What counts the same in the loss: every token, or every document however long."""
    text_weight: float = 1.0
    """Multiplies the loss weight of text."""
    vision_weight: float = 1.0
    """Multiplies the loss weight of frames."""
    shard_bytes: int = 256 << 20
    """About how large a shard becomes."""
    seed: int = 0
    """Of the order of the sequences."""

    def __post_init__(self) -> None:
        if self.loss_weighting not in ("token", "document"):
            raise ConfigError(f"loss_weighting must be 'token' or 'document', got {self.loss_weighting!r}")
        for name in ("text_weight", "vision_weight"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"{name} must be a finite number of at least 0, got {getattr(self, name)}")
        if self.text_weight == self.vision_weight == 0:
            raise ConfigError("text_weight and vision_weight are both 0: nothing would be learned")
        if self.shard_bytes < 1:
            raise ConfigError(f"shard_bytes must be at least 1, got {self.shard_bytes}")


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """The pieces [N] of one split, sorted by sequence [Q] and by their order in it."""

    document: Integers  # [N] row in the plan's table
    start: Integers  # [N] in the document
    length: Integers  # [N] in tokens
    weight: NDArray[np.float64]  # [N] of a target, before the modality multipliers
    first: Integers  # [Q + 1] sequence q is the pieces first[q]..first[q + 1]
    documents: int
    fewest: int  # sequences that no packing can go below

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All of its arrays."""
        return self.document, self.start, self.length, self.weight, self.first

    @property
    def sequences(self) -> int:
        """Number of sequences Q."""
        return len(self.first) - 1

    @property
    def tokens(self) -> int:
        """Number of tokens that are no padding."""
        return int(self.length.sum())


@dataclass(frozen=True, eq=False)
class Plan:
    """What a packed dataset will be. `table` are the documents (records.TOKENS), sorted by split and id."""

    table: pa.Table
    config: PackConfig
    context_length: int
    vocabulary: Vocabulary
    fingerprint: str
    splits: Mapping[str, SplitPlan]  # those with documents, in the order of records.SPLITS

    def fill(self, split: str) -> float:
        """Return the share of places that hold a token."""
        part = self.splits[split]
        return part.tokens / (part.sequences * self.context_length)

    def best_fill(self, split: str) -> float:
        """Return a fill that no packing of these documents can exceed."""
        part = self.splits[split]
        return part.tokens / (part.fewest * self.context_length)


def plan(table: pa.Table, config: PackConfig, *, context_length: int, vocabulary: Vocabulary) -> Plan:
    """Plan the packing of the documents in `table` (records.TOKENS) into sequences of `context_length` tokens.

    Raises ConfigError where the context is shorter than a frame; DatasetError where there is no document, one is
    there twice, or a row contradicts itself.
    """
    if context_length < SHORTEST_CONTEXT or context_length >= 1 << 31:
        raise ConfigError(f"context_length must lie in {SHORTEST_CONTEXT}..{(1 << 31) - 1}, got {context_length}")
    if not len(table):
        raise DatasetError("there is no document to pack: every item was set aside, or nothing was tokenized")
    table = table.sort_by([("split", "ascending"), ("document_id", "ascending")])
    _check(table)
    documents = digest_documents(table)
    split_of = np.asarray(table["split"])
    splits = {
        name: _plan_split(table, rows, name, config, context_length)
        for name in SPLITS
        if len(rows := np.flatnonzero(split_of == name))
    }
    # With the plan itself in it, shards of two runs that would differ are never taken for parts of one dataset.
    arranged = {name: [digest_array(array) for array in part.arrays] for name, part in splits.items()}
    return Plan(
        table=table,
        config=config,
        context_length=context_length,
        vocabulary=vocabulary,
        fingerprint=fingerprint(SCHEMA_VERSION, config, context_length, vocabulary, documents, arranged),
        splits=splits,
    )


def _check(table: pa.Table) -> None:
    for column, known in (("kind", KINDS), ("split", SPLITS)):
        if strange := sorted(set(pc.unique(table[column]).to_pylist()) - set(known)):
            raise DatasetError(f"the token store has the {column} {strange[0]!r}; known are {', '.join(known)}")
    ids = pc.value_counts(table["document_id"])
    if len(ids) < len(table):
        twice = ids.filter(pc.greater(ids.field("counts"), 1))[0]["values"].as_py()
        raise DatasetError(f"document {twice} is in the token store twice; run `longreel select` and `tokenize` again")
    if pc.min(table["length"]).as_py() < SHORTEST:
        row = table.filter(pc.less(table["length"], SHORTEST)).slice(0, 1).to_pylist()[0]
        raise DatasetError(f"document {row['document_id']} ({row['uri']}) has {row['length']} tokens; the least is 2")


def _plan_split(table: pa.Table, rows: Integers, split: str, config: PackConfig, context_length: int) -> SplitPlan:
    lengths = table["length"].to_numpy().astype(np.int64)
    is_book = np.asarray(table["kind"]) == "book"
    books, others = rows[is_book[rows]], rows[~is_book[rows]]
    videos = {row: _long_video(table, row, context_length) for row in others[lengths[others] > context_length].tolist()}
    pieces, fewest = arrange(others, books, lengths, videos, context_length=context_length)
    count = int(pieces.sequence.max()) + 1
    rank = np.argsort(np.argsort(_scatter(count, config.seed, split), kind="stable"), kind="stable")[pieces.sequence]
    books_last = np.where(is_book[pieces.document], 0, -pieces.length)
    order = np.lexsort((pieces.start, pieces.document, books_last, rank))
    document, length = pieces.document[order], pieces.length[order]
    nth = document - rows[0]  # a split is one run of rows of the sorted table
    weights = document_weights(nth, length, documents=len(rows), weighting=config.loss_weighting)
    return SplitPlan(
        document=document,
        start=pieces.start[order],
        length=length,
        weight=weights[nth],
        first=np.searchsorted(rank[order], np.arange(count + 1)),
        documents=len(rows),
        fewest=fewest,
    )


def _long_video(table: pa.Table, row: int, context_length: int) -> LongVideo:
    spans = table["spans"][row].values
    start, length, modality = (spans.field(name).to_numpy() for name in ("start", "length", "modality"))
    where = f"document {table['document_id'][row]} ({table['uri'][row]})"
    frame_tokens = table["frame_tokens"][row].as_py()
    points = cut_points(
        Spans(start, length, modality), frame_tokens=frame_tokens, context_length=context_length, where=where
    )
    return LongVideo(points, where)


def _scatter(count: int, seed: int, split: str) -> NDArray[np.uint64]:
    """Return a pseudo-random key for each of 0..count-1: splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(int(fingerprint(seed, split)[:16], 16))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
