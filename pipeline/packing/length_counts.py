"""The census: all that planning must know of the documents, as histograms of their lengths.

Units are counted side by side, each into a file of its own, and added up. Its size follows the number of different
lengths, not of documents.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.kinds.registry import names_of_text_kinds
from pipeline.packing.digest import DIGESTS, digest_documents
from pipeline.packing.histogram_bins import Histogram
from pipeline.packing.loss_weights import targets_of
from pipeline.packing.mixture import Mixture
from pipeline.packing.pieces import Documents, parts_of
from schemas.errors import DatasetError
from schemas.files import atomic
from schemas.records import SPLITS

ROLES = ("item", "atom", "text")  # `atom`: what bounds the packing from below, see `recipe.make_recipe`
_AT_ONCE = 64  # censuses in memory while they are added up


@dataclass(frozen=True, kw_only=True)
class SplitCensus:
    """The counts of one split; a document that goes in twice counts twice."""

    documents: int
    targets: float  # sum of the weights of all targets, before anything is cut
    item: Histogram
    atom: Histogram
    text: Histogram


@dataclass(frozen=True, kw_only=True)
class Census:
    """The counts of one unit, or of several."""

    rows: int  # documents, each once
    out: dict[str, int]  # documents that do not go in, by reason
    digest: int
    text_tokens: int  # of the training split, see Mixture.text_factor
    other_tokens: int
    splits: dict[str, SplitCensus]


def take_census(
    documents: Documents, mixture: Mixture, *, context_length: int, text_factor: float, seed: int
) -> Census:
    """Count a unit's documents."""
    table = documents.table
    copies, out = mixture.copies(
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
        items, texts = parts_of(documents, name, copies, context_length=context_length)
        splits[name] = SplitCensus(
            documents=number,
            targets=float(targets[split == name].sum()),
            item=Histogram.of(items.length),
            atom=Histogram.of(items.atoms),
            text=Histogram.of(texts.length),
        )
    return Census(
        rows=len(table),
        out=out,
        digest=digest_documents(table),
        text_tokens=text_tokens,
        other_tokens=int(tokens.sum()) - text_tokens,
        splits=splits,
    )


def add_up(units: Iterable[Census]) -> Census:
    """Return the census of several units together; holds few of them at a time."""
    left, total = iter(units), _add([])
    while some := list(itertools.islice(left, _AT_ONCE)):
        total = _add([total, *some])
    return total


def _add(some: list[Census]) -> Census:
    names = [name for name in SPLITS if any(name in census.splits for census in some)]
    out: Counter[str] = Counter()
    for census in some:
        out.update(census.out)
    return Census(
        rows=sum(census.rows for census in some),
        out=dict(sorted(out.items())),
        digest=sum(census.digest for census in some) % DIGESTS,
        text_tokens=sum(census.text_tokens for census in some),
        other_tokens=sum(census.other_tokens for census in some),
        splits={name: _add_splits([census.splits[name] for census in some if name in census.splits]) for name in names},
    )


def _add_splits(some: list[SplitCensus]) -> SplitCensus:
    return SplitCensus(
        documents=sum(split.documents for split in some),
        targets=sum(split.targets for split in some),
        item=Histogram.sum(split.item for split in some),
        atom=Histogram.sum(split.atom for split in some),
        text=Histogram.sum(split.text for split in some),
    )


def write_census(path: Path, census: Census) -> None:
    """Write a census as Parquet: its histograms as rows, the rest as JSON in the file's metadata."""
    rows: dict[str, list[Any]] = {"split": [], "role": [], "length": [], "count": []}
    facts: dict[str, Any] = {}
    for name, split in census.splits.items():
        facts[name] = {"documents": split.documents, "targets": split.targets}
        for role in ROLES:
            histogram: Histogram = getattr(split, role)
            rows["split"] += [name] * len(histogram.lengths)
            rows["role"] += [role] * len(histogram.lengths)
            rows["length"] += histogram.lengths.tolist()
            rows["count"] += histogram.counts.tolist()
    schema = pa.schema([("split", pa.string()), ("role", pa.string()), ("length", pa.int64()), ("count", pa.int64())])
    plain = {"rows": census.rows, "out": census.out, "digest": f"{census.digest:x}"}
    plain |= {"text_tokens": census.text_tokens, "other_tokens": census.other_tokens, "splits": facts}
    with atomic(path) as temporary:
        pq.write_table(pa.table(rows, schema.with_metadata({"census": json.dumps(plain)})), temporary)


def read_census(path: Path) -> Census:
    """Read what `write_census` wrote; raises DatasetError where it is not there."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{path} cannot be read ({e}); run `longreel pack` again") from e
    plain = json.loads(table.schema.metadata[b"census"])
    facts = plain.pop("splits")
    split, role = np.asarray(table["split"]), np.asarray(table["role"])
    length, count = table["length"].to_numpy(), table["count"].to_numpy()

    def histogram(name: str, of: str) -> Histogram:
        here = (split == name) & (role == of)
        return Histogram(length[here], count[here])

    splits = {
        name: SplitCensus(
            documents=values["documents"],
            targets=values["targets"],
            item=histogram(name, "item"),
            atom=histogram(name, "atom"),
            text=histogram(name, "text"),
        )
        for name, values in facts.items()
    }
    return Census(**plain | {"digest": int(plain["digest"], 16), "splits": splits})
