"""Computes a dataset without some documents: its ledger, the sequences that change, and its card.

The ledger is read once, one shard at a time. The rows of the documents are removed; in sequences with other documents,
the remaining spans are moved to the front and renumbered. All other rows are unchanged.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.removal.documents import read_batches
from schemas.dataset import DatasetCard, SplitCard
from schemas.fingerprint import fingerprint
from schemas.storage.location import Location
from schemas.vocab import VISION


class ShardChange(NamedTuple):
    """The keys of the sequences of a shard that are repacked, and of those that are dropped."""

    shard: str
    repacked: frozenset[str]
    dropped: frozenset[str]


@dataclass
class Totals:
    """Counts of the remaining data of a split, and the lengths of the removed chunks in tokens."""

    counts: Counter[str] = field(default_factory=Counter)
    removed: list[int] = field(default_factory=list)


def changes(
    ledger: Location, ids: Collection[str], totals: dict[str, Totals]
) -> Iterator[tuple[ShardChange, pa.Table]]:
    """Yield the change and the remaining rows of each shard, in the ledger's order, and update `totals` by split."""
    wanted = pa.array(sorted(ids), pa.string())
    for shard, rows in _by_shard(ledger):
        mask = pc.is_in(rows["document_id"], wanted)
        removed, kept = rows.filter(mask), rows
        if len(removed):
            kept = _renumbered(rows.filter(pc.invert(mask)))
        affected, remaining = (frozenset(table["sequence"].unique().to_pylist()) for table in (removed, kept))
        _update(totals.setdefault(rows["split"][0].as_py(), Totals()), kept, removed, sequences=len(remaining))
        yield ShardChange(shard, affected & remaining, affected - remaining), kept


def _by_shard(ledger: Location) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each shard, which are consecutive."""
    pending: list[pa.Table] = []
    for batch in read_batches(ledger):
        names = np.asarray(batch["shard"])
        edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
        for start, end in itertools.pairwise(edges):
            if pending and pending[0]["shard"][0].as_py() != names[start]:
                yield pending[0]["shard"][0].as_py(), pa.concat_tables(pending)
                pending = []
            pending.append(batch.slice(start, end - start))
    if pending:
        yield pending[0]["shard"][0].as_py(), pa.concat_tables(pending)


def _renumbered(rows: pa.Table) -> pa.Table:
    """Renumber the spans of every sequence from 0 and move them together, without gaps."""
    if not len(rows):
        return rows
    rows = rows.combine_chunks()
    sequence, length = np.asarray(rows["sequence"]), rows["length"].to_numpy().astype(np.int64)
    first = np.concatenate([[0], np.flatnonzero(sequence[1:] != sequence[:-1]) + 1])
    counts = np.diff(first, append=len(rows))
    before = np.cumsum(length) - length
    values = {
        "span": np.arange(len(rows)) - np.repeat(first, counts),
        "start": before - np.repeat(before[first], counts),
    }
    for name, numbers in values.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.array(numbers.astype(np.int32)))
    return rows


def _update(totals: Totals, kept: pa.Table, removed: pa.Table, *, sequences: int) -> None:
    length, vision = kept["length"].to_numpy().astype(np.int64), kept["modality"].to_numpy() == VISION
    tokens, of_vision = int(length.sum()), int(length[vision].sum())
    # Every copy of a document has exactly one span that starts at its token 0.
    documents = int(np.count_nonzero(kept["document_start"].to_numpy() == 0))
    counts = {"tokens": tokens, "vision_tokens": of_vision, "text_tokens": tokens - of_vision, "documents": documents}
    totals.counts.update(counts | {"sequences": sequences, "shards": int(sequences > 0)})
    chunks = removed.group_by(["sequence", "document_id", "copy"]).aggregate([("length", "sum")])
    totals.removed += chunks["length_sum"].to_pylist()


def card_without(card: DatasetCard, ids: Collection[str], totals: dict[str, Totals]) -> DatasetCard | None:
    """Return the card without the documents `ids`, with the old files; None if no sequence remains."""
    splits = {
        name: _split_card(split, totals[name], card.context_length)
        for name, split in card.splits.items()
        if name in totals and totals[name].counts["sequences"]
    }
    if not splits:
        return None
    return replace(
        card,
        # The order of training changes, so a run that resumes from a checkpoint must detect another dataset.
        fingerprint=fingerprint(card.fingerprint, sorted(ids)),
        splits=splits,
        taken_down=tuple(sorted({*card.taken_down, *ids})),
    )


def _split_card(before: SplitCard, totals: Totals, context_length: int) -> SplitCard:
    """Return the counts of the remaining data, with a `best_fill` that is still an upper bound."""
    counts = totals.counts
    # The removed chunks fit in k additional sequences. Any packing of the remaining chunks, with these k sequences, is
    # a packing of all chunks. So it has at least as many sequences as all chunks need, minus k. It also has at least as
    # many as its tokens fill.
    fewest = round(before.tokens / (before.best_fill * context_length))
    fewest = max(fewest - _next_fit(totals.removed, context_length), -(-counts["tokens"] // context_length))
    return SplitCard(
        **counts,
        fill=counts["tokens"] / (counts["sequences"] * context_length),
        best_fill=counts["tokens"] / (fewest * context_length),
    )


def _next_fit(lengths: list[int], capacity: int) -> int:
    """Return the number of sequences that next-fit uses for chunks of these lengths, in increasing order."""
    bins, space = 0, 0
    for length in sorted(lengths):
        if length > space:
            bins, space = bins + 1, capacity
        space -= length
    return bins
