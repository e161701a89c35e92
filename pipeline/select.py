"""Select: who goes on, and into which split.

First every item by itself: its licence, then its numbers against their limits (`limits`). Then the items that share
content, which `match` has found: of equal ones and of near-duplicates the best goes on (`keep`), and of a book the
passages that a better one has too are cut. The split is the manifest's, or falls to a hash of the cluster, so that
no two items that share content stand on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.keep import KeepConfig, choose, clusters, rank, shared_ranges
from pipeline.limits import judge_numbers, numbers, with_limits
from pipeline.store import read_rows
from pipeline.workspace import Workspace, read_table_unit, read_units, write_table_unit
from schemas.errors import ConfigError, DatasetError, Reason
from schemas.files import write_text
from schemas.fingerprint import bucket
from schemas.records import PAIRS, SURVEY

Row = Mapping[str, Any]
_SPLIT_STEPS = 1_000_000
_MARKER = "selection.json"


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """What an item must be like to go on."""

    set: tuple[str, ...] = ()
    """Limits on the numbers that the survey found: NAME=MIN:MAX, either side may be empty. `longreel explain ITEM`
    shows all numbers and limits."""
    licences: tuple[str, ...] = ()
    """Licences that may go on, as the manifest spells them (upper and lower case are the same); "unknown" allows items
    that name none. Without the option nothing is asked."""
    languages: tuple[str, ...] = ()
    """Languages of books that may go on, as ISO 639-1 names them (en, de, ...). Without the option nothing is asked."""
    keep: KeepConfig = field(default_factory=KeepConfig)
    val_fraction: float = 0.05
    """Share of items, chosen by a hash of their content, that is held out where the manifest names no split."""
    split_seed: int = 0
    """Changes which items are held out."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction must be in [0, 1), got {self.val_fraction}")
        with_limits(self.set)


def judge(row: Row, config: SelectConfig) -> tuple[Reason, str] | None:
    """Return why a surveyed row does not go on by itself, or None where it does."""
    if row["reason"]:
        return Reason(row["reason"]), row["detail"]
    if config.licences and (verdict := _judge_licence(row["licence"], config.licences)):
        return verdict
    if config.languages and row["kind"] == "book" and (verdict := _judge_language(row["language"], config.languages)):
        return verdict
    return judge_numbers(numbers(row), with_limits(config.set))


def _judge_licence(licence: str | None, allowed: Sequence[str]) -> tuple[Reason, str] | None:
    known = (licence or "").strip()
    if (known or "unknown").casefold() in {name.strip().casefold() for name in allowed}:
        return None
    if not known:
        return Reason.LICENCE, "the manifest names no licence (--licences … unknown allows that)"
    return Reason.LICENCE, f"licence {known!r}; allowed are {', '.join(allowed)} (--licences)"


def _judge_language(language: str | None, wanted: Sequence[str]) -> tuple[Reason, str] | None:
    if language in {name.strip().lower() for name in wanted}:
        return None
    return Reason.LANGUAGE, f"the language is {language or 'unknown'}; wanted are {', '.join(wanted)} (--languages)"


def choose_split(row: Row, config: SelectConfig) -> str:
    """Return the manifest's split, else the one that the row's cluster falls to."""
    if row["split"]:
        return str(row["split"])
    share = bucket(f"{config.split_seed}/{row['cluster']}", _SPLIT_STEPS) / _SPLIT_STEPS
    return "val" if share < config.val_fraction else "train"


def judge_cluster(rows: Sequence[Row], pairs: Sequence[Row], config: SelectConfig) -> Iterator[dict[str, Any]]:
    """Judge rows that share content; `pairs` are those among them. Each row comes back once."""
    ordered = sorted((row for row in rows), key=lambda r: rank(r, config.keep.prefer))
    best: dict[str, Row] = {}
    aside: list[tuple[Row, tuple[Reason, str], str | None]] = []
    for row in ordered:
        if verdict := judge(row, config):
            aside.append((row, verdict, None))
        elif first := best.get(row["content_id"]):
            same = "bytes" if first["document_id"] == row["document_id"] else "content"
            aside.append((row, (Reason.DUPLICATE, f"same {same} as {first['uri']}"), row["content_id"]))
        else:
            best[row["content_id"]] = row
    beaten = choose(list(best.values()), pairs, config.keep) if config.keep.near else {}
    kept = {name: rank(row, config.keep.prefer) for name, row in best.items() if name not in beaten}
    for name, row in best.items():
        if name in kept:
            cuts = sorted([*(row["cuts"] or ()), *_shared(row, kept, pairs, config)], key=lambda cut: cut["start"])
            changes = {"cuts": cuts or None, "split": choose_split(row, config)}
            yield {**row, **changes, "reason": None, "detail": None}
        else:
            pair = beaten[name]
            one, other = ("a", "b") if pair["a"] == name else ("b", "a")
            detail = f"{best[pair[other]]['uri']} has {pair[f'covered_{one}']:.0%} of it"
            aside.append((row, (Reason.NEAR_DUPLICATE, f"{detail}, {pair['similarity']:.0%} alike"), pair[other]))
    for row, (reason, detail), keeper in aside:
        yield {**row, "reason": reason.value, "detail": detail, "keeper": keeper}


def _shared(row: Row, kept: Mapping[str, Any], pairs: Sequence[Row], config: SelectConfig) -> list[dict[str, Any]]:
    if row["kind"] != "book" or not config.keep.near:
        return []
    return shared_ranges(row["content_id"], kept, [p for p in pairs if p["similarity"] >= config.keep.similar])


@dataclass(frozen=True)
class Matches:
    """The pairs of items that share content, by the cluster they belong to."""

    cluster: Mapping[str, str]
    pairs: Mapping[str, Sequence[Row]]

    @classmethod
    def of(cls, pairs: Iterable[Row]) -> Matches:
        """Group pairs (schemas.records.PAIRS) by cluster."""
        pairs = list(pairs)
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


def read_survey_unit(workspace: Workspace, unit: int) -> list[dict[str, Any]]:
    """Return the rows of one survey unit; measures come as a dict."""
    return read_table_unit(workspace.survey, unit, SURVEY).to_pylist(maps_as_pydicts="strict")


def read_pairs(workspace: Workspace) -> list[dict[str, Any]]:
    """Return what `match` found; nothing where it has not run."""
    return read_rows(workspace.pairs, PAIRS).to_pylist() if workspace.pairs.exists() else []


class Selection(NamedTuple):
    """A finished selection: what it was made from, and all judged rows."""

    fingerprint: str
    rows: pa.Table


def finish_selection(workspace: Workspace, config: SelectConfig, *, fingerprint: str, items: int) -> None:
    """Write down that the selection is whole: it is used only with this file, and with this many rows."""
    facts = {"fingerprint": fingerprint, "items": items, "config": asdict(config)}
    write_text(workspace.selection / _MARKER, json.dumps(facts) + "\n")


def read_selection(workspace: Workspace) -> Selection:
    """Read a finished selection; raises DatasetError where it is not finished, or a part of it is lost or damaged."""
    marker = workspace.selection / _MARKER
    try:
        facts = json.loads(marker.read_text(encoding="utf-8"))
        key, items = facts["fingerprint"], facts["items"]
    except FileNotFoundError as e:
        raise DatasetError(f"{workspace.selection} is not finished: run `longreel select` first") from e
    except (ValueError, KeyError, TypeError) as e:
        raise DatasetError(f"{marker} cannot be read ({e}); run `longreel select` again") from e
    rows = read_units(workspace.selection, SURVEY)
    if len(rows) != items:
        raise DatasetError(f"{workspace.selection} has {len(rows)} of {items} rows; run `longreel select` again")
    return Selection(key, rows)
