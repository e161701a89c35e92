"""Select: who goes on, and into which split.

First every item by itself: its license, then its numbers against their limits (`limits`). Then the items that share
content, which `dedup` has found: of equal ones and of near-duplicates the best goes on (`keep`), and of a book the
passages that a better one has too are cut. The split is the manifest's. Where it names none, an item goes where the
manifest puts another of its cluster, else where a hash of the cluster falls: no two items that share content stand on
both sides, unless the manifest itself puts them there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.filters.filter import Rejection
from pipeline.runtime.workspace import Workspace, write_table_unit
from pipeline.select.config import SelectConfig
from pipeline.select.keep_best import KeepConfig, choose, clusters, containment_of, is_related, rank, shared_ranges
from pipeline.survey.table import read_survey_unit
from schemas.errors import Reason
from schemas.fingerprint import bucket
from schemas.records import SURVEY

Row = Mapping[str, Any]
_SPLIT_STEPS = 1_000_000


def judge(row: Row, config: SelectConfig) -> Rejection | None:
    """Return why the survey or a filter rejects a surveyed row, or None if all keep it."""
    if row["reason"]:
        return Rejection(Reason(row["reason"]), row["detail"])
    return config.filters.reject(row)


def choose_split(row: Row, config: SelectConfig, named: Collection[str] = ()) -> str:
    """Return the manifest's split, else the one that the row's cluster falls to.

    `named` are the splits that the manifest gives to other rows of the cluster: the row goes where they are, and
    among the held out where they are on both sides.
    """
    if row["split"]:
        return str(row["split"])
    if named:
        return "val" if "val" in named else "train"
    share = bucket(f"{config.split_seed}/{row['cluster']}", _SPLIT_STEPS) / _SPLIT_STEPS
    return "val" if share < config.val_fraction else "train"


def judge_cluster(rows: Iterable[Row], pairs: Sequence[Row], config: SelectConfig) -> Iterator[dict[str, Any]]:
    """Judge rows that share content; `pairs` are those among them. Each row comes back once."""
    ordered = sorted(rows, key=lambda r: rank(r, config.keep.prefer))
    best: dict[str, Row] = {}
    aside: list[tuple[Row, Reason, str, str | None]] = []
    for row in ordered:
        if verdict := judge(row, config):
            aside.append((row, *verdict, None))
        elif first := best.get(row["content_id"]):
            same = "bytes" if first["document_id"] == row["document_id"] else "content"
            aside.append((row, Reason.DUPLICATE, f"same {same} as {first['uri']}", row["content_id"]))
        else:
            best[row["content_id"]] = row
    beaten = choose(list(best.values()), pairs, config.keep) if config.keep.remove_near_duplicates else {}
    keeper = {name: pair["b"] if pair["a"] == name else pair["a"] for name, pair in beaten.items()}
    kept = {name: rank(row, config.keep.prefer) for name, row in best.items() if name not in beaten}
    passages = _passages(pairs, config)
    named = {row["split"] for row in ordered if row["split"]}
    for name, row in best.items():
        if name in kept:
            shared = shared_ranges(name, kept, passages.get(name, ()))
            cuts = sorted([*(row["cuts"] or ()), *shared], key=lambda cut: (cut["start"], cut["end"]))
            changes = {"cuts": cuts or None, "split": choose_split(row, config, named)}
            yield {**row, **changes, "keeper": None, "reason": None, "detail": None}
        else:
            pair = beaten[name]
            detail = f"{best[keeper[name]]['uri']} has {containment_of(name, pair):.0%} of it"
            aside.append((row, Reason.NEAR_DUPLICATE, f"{detail}, {pair['similarity']:.0%} alike", name))
    for row, reason, detail, like in aside:  # the copy that an item is like may itself have given way to a better one
        yield {**row, "reason": reason.value, "detail": detail, "keeper": like and keeper.get(like, like)}


def _passages(pairs: Sequence[Row], config: SelectConfig) -> Mapping[str, Sequence[Row]]:
    """Return for each book the pairs that say which of its passages others have too."""
    found: dict[str, list[Row]] = {}
    for pair in pairs:
        if (
            config.keep.remove_near_duplicates
            and pair["kind"] == "book"
            and pair["similarity"] >= config.keep.min_similarity
        ):
            for name in (pair["a"], pair["b"]):
                found.setdefault(name, []).append(pair)
    return found


@dataclass(frozen=True)
class Matches:
    """The pairs of items that share content, by the cluster they belong to."""

    cluster: Mapping[str, str]
    pairs: Mapping[str, Sequence[Row]]

    @classmethod
    def of(cls, pairs: Iterable[Row], config: KeepConfig) -> Matches:
        """Group pairs (schemas.records.PAIRS) by cluster; those that share too little are left out."""
        pairs = [pair for pair in pairs if is_related(pair, config)]
        cluster = clusters(pairs)
        grouped: dict[str, list[Row]] = {}
        for pair in pairs:
            grouped.setdefault(cluster[pair["a"]], []).append(pair)
        return cls(cluster, grouped)

    def join(self, row: Row) -> dict[str, Any]:
        """Return a surveyed row with its cluster; an item without content of its own stands alone."""
        content = row["content_id"] or row["document_id"] or row["uri"]
        return {**row, "content_id": content, "cluster": self.cluster.get(content, content)}


@dataclass(frozen=True, kw_only=True)
class Selector:
    """The three steps of the Beam job: read a survey unit, judge a cluster, write a selection unit."""

    workspace: Workspace
    config: SelectConfig
    matches: Matches

    def read(self, unit: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (cluster, row)."""
        for row in read_survey_unit(self.workspace, unit):
            joined = self.matches.join(row)
            yield joined["cluster"], joined

    def judge(self, rows: Sequence[Row]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (unit, judged row)."""
        pairs = self.matches.pairs.get(rows[0]["cluster"], ())
        for row in judge_cluster(rows, pairs, self.config):
            yield self.workspace.unit_of(row["document_id"] or row["uri"]), row

    def write(self, unit: int, rows: Iterable[Row]) -> None:
        """Write one selection unit, sorted by content and address."""
        ordered = sorted(rows, key=lambda r: (r["document_id"] or "", r["uri"]))
        write_table_unit(self.workspace.selection, unit, pa.Table.from_pylist(ordered, SURVEY))
