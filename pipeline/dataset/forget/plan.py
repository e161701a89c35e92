"""What forgetting some documents changes in a dataset: the ledger without them, and the sequences and counts it moves.

The ledger is read once, a shard's rows at a time. Rows of forgotten documents go; in a sequence that keeps others, the
spans move up and are numbered anew. All other rows stay as they are.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.dataset import DatasetCard, SplitCard
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import fingerprint
from schemas.records import LEDGER as LEDGER_SCHEMA
from schemas.records import item_of
from schemas.vocab import VISION

SHORTEST_PREFIX = 8  # of a document's id
_BATCH_ROWS = 1 << 17
_NAMED = 5  # documents that a message names


class Found(NamedTuple):
    """A document that is asked for."""

    document_id: str
    uri: str
    title: str | None

    def answers(self, item: str) -> bool:
        """Tell whether `item` may mean this document: its id or its item's, a beginning of it, or its address."""
        return self.is_named(item) or is_prefix(item, self.document_id)

    def is_named(self, item: str) -> bool:
        """Tell whether `item` is the document's id, that of the item it is a clip of, or its address."""
        return item in (self.document_id, item_of(self.document_id), self.uri)


class ShardChange(NamedTuple):
    """The keys of a shard's sequences that are repacked, and of those that are dropped."""

    shard: str
    repacked: frozenset[str]
    dropped: frozenset[str]


@dataclass
class Totals:
    """What stays in a split, and the lengths of the chunks that go."""

    counts: Counter[str] = field(default_factory=Counter)
    gone: list[int] = field(default_factory=list)


def is_prefix(item: str, document_id: str) -> bool:
    """Tell whether `item` is a beginning of an id that is long enough to be one."""
    return len(item) >= SHORTEST_PREFIX and document_id.startswith(item)


def find_documents(ledger: Path, items: Sequence[str]) -> list[Found]:
    """Return the documents that `items` (ids, beginnings of ids, addresses) may mean."""
    wanted = pa.array(dict.fromkeys(items), pa.string())
    found: dict[str, Found] = {}
    for batch in _batches(ledger, ["document_id", "uri", "title"]):
        ids = batch["document_id"]
        mask = pc.or_(pc.is_in(ids, wanted), pc.is_in(batch["uri"], wanted))
        for item in items:
            if len(item) >= SHORTEST_PREFIX:
                mask = pc.or_(mask, pc.starts_with(ids, item))
        for row in batch.filter(mask).to_pylist():
            found.setdefault(row["document_id"], Found(**row))
    return [found[name] for name in sorted(found)]


def choose(items: Sequence[str], found: Sequence[Found], gone: Sequence[str]) -> tuple[list[Found], list[str]]:
    """Return the documents that `items` mean, and the items whose documents are among those that are `gone` already.

    An address means all documents that have it; the id of an item, or the beginning of one, all its clips. Raises
    ConfigError that names every item that means none or several.
    """
    chosen: dict[str, Found] = {}
    before, wrong = [], []
    for item in dict.fromkeys(items):
        exact = [d for d in found if d.is_named(item)]
        fitting = exact or [d for d in found if is_prefix(item, d.document_id)]
        meant = sorted({d.document_id if "#" in item else item_of(d.document_id) for d in fitting})
        if len(meant) > 1 and not exact:
            names = ", ".join(name[: len(item) + 8] for name in meant[:_NAMED])
            wrong.append(f"{item!r} is the beginning of {len(meant)} documents ({names} …): give more of the id")
        elif fitting:
            chosen |= {d.document_id: d for d in fitting}
        elif any(is_prefix(item, name) or item == name for name in gone):
            before.append(item)
        else:
            wrong.append(f"{item!r} is neither a document's id, the first {SHORTEST_PREFIX} or more of one, nor a uri")
    if wrong:
        raise ConfigError("nothing was forgotten: " + "; ".join(wrong))
    return [chosen[name] for name in sorted(chosen)], before


def changes(ledger: Path, ids: Collection[str], totals: dict[str, Totals]) -> Iterator[tuple[ShardChange, pa.Table]]:
    """Yield each shard's change and the rows that are left, in the ledger's order, and add up `totals` by split."""
    gone = pa.array(sorted(ids), pa.string())
    for shard, rows in _by_shard(ledger):
        mask = pc.is_in(rows["document_id"], gone)
        removed, kept = rows.filter(mask), rows
        if len(removed):
            kept = _renumbered(rows.filter(pc.invert(mask)))
        touched, left = (frozenset(table["sequence"].unique().to_pylist()) for table in (removed, kept))
        _add_up(totals.setdefault(rows["split"][0].as_py(), Totals()), kept, removed, sequences=len(left))
        yield ShardChange(shard, touched & left, touched - left), kept


def _batches(ledger: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(ledger) as file:
            if not file.schema_arrow.equals(LEDGER_SCHEMA):
                raise DatasetError(f"{ledger} has not the columns of a ledger; run `longreel verify`")
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{ledger} cannot be read ({e}); run `longreel verify`") from e


def _by_shard(ledger: Path) -> Iterator[tuple[str, pa.Table]]:
    """Yield each shard's rows, which stand together."""
    waiting: list[pa.Table] = []
    for batch in _batches(ledger):
        names = np.asarray(batch["shard"])
        edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
        for start, end in itertools.pairwise(edges):
            if waiting and waiting[0]["shard"][0].as_py() != names[start]:
                yield waiting[0]["shard"][0].as_py(), pa.concat_tables(waiting)
                waiting = []
            waiting.append(batch.slice(start, end - start))
    if waiting:
        yield waiting[0]["shard"][0].as_py(), pa.concat_tables(waiting)


def _renumbered(rows: pa.Table) -> pa.Table:
    """Number the spans of every sequence from 0 and lay them one behind the other."""
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


def _add_up(totals: Totals, kept: pa.Table, removed: pa.Table, *, sequences: int) -> None:
    length, vision = kept["length"].to_numpy().astype(np.int64), kept["modality"].to_numpy() == VISION
    tokens, of_vision = int(length.sum()), int(length[vision].sum())
    # Each document, and each copy of it, has one span that begins at its token 0.
    documents = int(np.count_nonzero(kept["document_start"].to_numpy() == 0))
    counts = {"tokens": tokens, "vision_tokens": of_vision, "text_tokens": tokens - of_vision, "documents": documents}
    totals.counts.update(counts | {"sequences": sequences, "shards": int(sequences > 0)})
    chunks = removed.group_by(["sequence", "document_id", "copy"]).aggregate([("length", "sum")])
    totals.gone += chunks["length_sum"].to_pylist()


def card_without(card: DatasetCard, ids: Collection[str], totals: dict[str, Totals]) -> DatasetCard:
    """Return the card of what is left, with the old hashes of files. Raises ConfigError where nothing is left."""
    splits = {
        name: _split_card(split, totals[name], card.context_length)
        for name, split in card.splits.items()
        if name in totals and totals[name].counts["sequences"]
    }
    if not splits:
        raise ConfigError("nothing was forgotten: no sequence would be left; delete the dataset instead")
    return replace(
        card,
        # The order of training is another one: a run that goes on from a checkpoint must notice.
        fingerprint=fingerprint(card.fingerprint, sorted(ids)),
        splits=splits,
        forgotten=tuple(sorted({*card.forgotten, *ids})),
    )


def _split_card(before: SplitCard, totals: Totals, context_length: int) -> SplitCard:
    """Count anew, with a `best_fill` that is a bound still."""
    counts = totals.counts
    # The forgotten chunks fit in k sequences of their own. With those, a packing of what is left is one of all; so it
    # has no fewer sequences than all needed, less k. Nor has it fewer than its tokens fill.
    fewest = round(before.tokens / (before.best_fill * context_length))
    fewest = max(fewest - _next_fit(totals.gone, context_length), -(-counts["tokens"] // context_length))
    return SplitCard(
        **counts,
        fill=counts["tokens"] / (counts["sequences"] * context_length),
        best_fill=counts["tokens"] / (fewest * context_length),
    )


def _next_fit(lengths: list[int], capacity: int) -> int:
    """Return in how many sequences chunks of these lengths find room, one after the other."""
    bins, room = 0, 0
    for length in sorted(lengths):
        if length > room:
            bins, room = bins + 1, capacity
        room -= length
    return bins
