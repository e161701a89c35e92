"""Length histograms: all that planning needs to know about the documents.

Units are counted in parallel, each into a separate file, and the counts are summed. The size of a file depends on the
number of distinct lengths, not on the number of documents.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.kinds.registry import names_of_text_kinds
from pipeline.packing.chunks import Documents, split_chunks
from pipeline.packing.digest import DIGESTS, digest_documents
from pipeline.packing.histogram_bins import Histogram
from pipeline.packing.loss_weights import targets_of
from pipeline.packing.mixture import Mixture
from schemas.errors import DatasetError
from schemas.records import SPLITS
from schemas.storage.location import Location
from schemas.tables import read_table, write_table

ROLES = ("item", "unsplittable", "text")  # the histograms of SplitHistograms
_BATCH = 64  # histograms of units that are in memory while they are summed


@dataclass(frozen=True, kw_only=True)
class SplitHistograms:
    """The counts of one split; each copy of a document counts."""

    documents: int
    targets: float  # sum of the span weights of all targets before cutting
    item: Histogram  # chunks that are packed whole
    unsplittable: Histogram  # see `packing_plan.make_packing_plan`
    text: Histogram  # documents that can be cut at any token


@dataclass(frozen=True, kw_only=True)
class LengthHistograms:
    """The counts of one or more units."""

    rows: int  # documents, without copies
    excluded: dict[str, int]  # documents that are not packed, by reason
    digest: int  # of the documents, see `digest.digest_documents`
    text_tokens: int  # in the training split, see `Mixture.text_factor`
    other_tokens: int  # in the training split
    splits: dict[str, SplitHistograms]


def count_lengths(
    documents: Documents, mixture: Mixture, *, context_length: int, text_factor: float, seed: int
) -> LengthHistograms:
    """Count the documents of one unit."""
    table = documents.table
    copies, excluded = mixture.copies(
        table, documents.draw, context_length=context_length, text_factor=text_factor, seed=seed
    )
    split, kind = np.asarray(table["split"]), np.asarray(table["kind"])
    is_text = np.isin(kind, names_of_text_kinds())
    tokens = (table["length"].to_numpy() * copies)[split == "train"]
    text_tokens = int(tokens[is_text[split == "train"]].sum())
    targets = targets_of(table) * copies
    splits = {}
    for name in SPLITS:
        if not (number := int(copies[split == name].sum())):
            continue
        items, texts = split_chunks(documents, name, copies, context_length=context_length)
        splits[name] = SplitHistograms(
            documents=number,
            targets=float(targets[split == name].sum()),
            item=Histogram.of(items.length),
            unsplittable=Histogram.of(items.unsplittable),
            text=Histogram.of(texts.length),
        )
    return LengthHistograms(
        rows=len(table),
        excluded=excluded,
        digest=digest_documents(table),
        text_tokens=text_tokens,
        other_tokens=int(tokens.sum()) - text_tokens,
        splits=splits,
    )


def sum_histograms(units: Iterable[LengthHistograms]) -> LengthHistograms:
    """Return the sum of the histograms of units; at most _BATCH of them are in memory at a time."""
    left, total = iter(units), _add([])
    while some := list(itertools.islice(left, _BATCH)):
        total = _add([total, *some])
    return total


def _add(some: list[LengthHistograms]) -> LengthHistograms:
    names = [name for name in SPLITS if any(name in histograms.splits for histograms in some)]
    excluded: Counter[str] = Counter()
    for histograms in some:
        excluded.update(histograms.excluded)
    return LengthHistograms(
        rows=sum(histograms.rows for histograms in some),
        excluded=dict(sorted(excluded.items())),
        digest=sum(histograms.digest for histograms in some) % DIGESTS,
        text_tokens=sum(histograms.text_tokens for histograms in some),
        other_tokens=sum(histograms.other_tokens for histograms in some),
        splits={
            name: _add_splits([histograms.splits[name] for histograms in some if name in histograms.splits])
            for name in names
        },
    )


def _add_splits(some: list[SplitHistograms]) -> SplitHistograms:
    return SplitHistograms(
        documents=sum(split.documents for split in some),
        targets=sum(split.targets for split in some),
        item=Histogram.sum(split.item for split in some),
        unsplittable=Histogram.sum(split.unsplittable for split in some),
        text=Histogram.sum(split.text for split in some),
    )


def write_histograms(path: Location, histograms: LengthHistograms) -> None:
    """Write length histograms as Parquet: one row per length; the other fields are JSON in the metadata of the file."""
    rows: dict[str, list[Any]] = {"split": [], "role": [], "length": [], "count": []}
    facts: dict[str, Any] = {}
    for name, split in histograms.splits.items():
        facts[name] = {"documents": split.documents, "targets": split.targets}
        for role in ROLES:
            histogram: Histogram = getattr(split, role)
            rows["split"] += [name] * len(histogram.lengths)
            rows["role"] += [role] * len(histogram.lengths)
            rows["length"] += histogram.lengths.tolist()
            rows["count"] += histogram.counts.tolist()
    schema = pa.schema([("split", pa.string()), ("role", pa.string()), ("length", pa.int64()), ("count", pa.int64())])
    plain = {"rows": histograms.rows, "excluded": histograms.excluded, "digest": f"{histograms.digest:x}"}
    plain |= {"text_tokens": histograms.text_tokens, "other_tokens": histograms.other_tokens, "splits": facts}
    write_table(path, pa.table(rows, schema.with_metadata({"histograms": json.dumps(plain)})))


def read_histograms(path: Location) -> LengthHistograms:
    """Read a file written by `write_histograms`; raises DatasetError if it is missing or invalid."""
    try:
        table = read_table(path)
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel pack` again") from e
    plain = json.loads(table.schema.metadata[b"histograms"])
    facts = plain.pop("splits")
    split, role = np.asarray(table["split"]), np.asarray(table["role"])
    length, count = table["length"].to_numpy(), table["count"].to_numpy()

    def histogram(name: str, of: str) -> Histogram:
        selected = (split == name) & (role == of)
        return Histogram(length[selected], count[selected])

    splits = {
        name: SplitHistograms(
            documents=values["documents"],
            targets=values["targets"],
            item=histogram(name, "item"),
            unsplittable=histogram(name, "unsplittable"),
            text=histogram(name, "text"),
        )
        for name, values in facts.items()
    }
    return LengthHistograms(**plain | {"digest": int(plain["digest"], 16), "splits": splits})
