"""Select: who goes on, and into which split.

First every item by itself: its licence, then its numbers against their limits (`limits`). Then the items that share
content, which `match` has found: of equal ones and of near-duplicates the best goes on (`keep`), and of a book the
passages that a better one has too are cut. The split is the manifest's. Where it names none, an item goes where the
manifest puts another of its cluster, else where a hash of the cluster falls: no two items that share content stand on
both sides, unless the manifest itself puts them there.
"""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
from tyro.conf import UseAppendAction, arg

from pipeline.keep import KeepConfig, choose, clusters, covered_by, is_related, rank, shared_ranges
from pipeline.limits import Limit, judge_numbers, numbers, with_limits
from pipeline.store import read_rows
from pipeline.workspace import Workspace, drop_units, read_table_unit, read_units, write_table_unit
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

    set: UseAppendAction[tuple[str, ...]] = ()
    """A limit on a number that the survey found: NAME=MIN:MAX, either side may be empty. Give it several times for
    several limits. `longreel explain ITEM` shows all numbers and limits."""
    licences: tuple[str, ...] = ()
    """Licences that may go on, as the manifest spells them (upper and lower case are the same); "unknown" allows items
    that name none. Without the option nothing is asked."""
    languages: tuple[str, ...] = ()
    """Languages of books that may go on, as ISO 639-1 names them (en, de, ...). Without the option nothing is asked."""
    keep: Annotated[KeepConfig, arg(name="")] = field(default_factory=KeepConfig)
    val_fraction: float = 0.05
    """Share of items, chosen by a hash of their content, that is held out where the manifest names no split."""
    split_seed: int = 0
    """Changes which items are held out."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction must be in [0, 1), got {self.val_fraction}")
        if not all(name.strip() for name in self.licences):
            raise ConfigError(f'licences must have names ("unknown" for items without one), got {self.licences}')
        with_limits(self.set)

    @functools.cached_property
    def limits(self) -> Mapping[str, Limit]:
        """The limits that hold: the defaults, and what `set` says."""
        return with_limits(self.set)


def as_options(config: SelectConfig) -> str:
    """Return a configuration as options of `longreel select`; nothing where all are the defaults."""
    words: list[str] = []
    for part, usual in ((config, SelectConfig()), (config.keep, KeepConfig())):
        for name, value in ((f.name, getattr(part, f.name)) for f in fields(part) if f.name != "keep"):
            option = "--" + name.replace("_", "-")
            if value == getattr(usual, name):
                continue
            if name == "set":
                words += [word for text in value for word in (option, text)]
            elif isinstance(value, bool):
                words.append(option if value else option.replace("--", "--no-", 1))
            else:
                words += [option, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def judge(row: Row, config: SelectConfig) -> tuple[Reason, str] | None:
    """Return why a surveyed row does not go on by itself, or None where it does."""
    if row["reason"]:
        return Reason(row["reason"]), row["detail"]
    if config.licences and (verdict := _judge_licence(row["licence"], config.licences)):
        return verdict
    if config.languages and row["kind"] == "book" and (verdict := _judge_language(row["language"], config.languages)):
        return verdict
    return judge_numbers(numbers(row), config.limits)


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
    beaten = choose(list(best.values()), pairs, config.keep) if config.keep.near else {}
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
            detail = f"{best[keeper[name]]['uri']} has {covered_by(name, pair):.0%} of it"
            aside.append((row, Reason.NEAR_DUPLICATE, f"{detail}, {pair['similarity']:.0%} alike", name))
    for row, reason, detail, like in aside:  # the copy that an item is like may itself have given way to a better one
        yield {**row, "reason": reason.value, "detail": detail, "keeper": like and keeper.get(like, like)}


def _passages(pairs: Sequence[Row], config: SelectConfig) -> Mapping[str, Sequence[Row]]:
    """Return for each book the pairs that say which of its passages others have too."""
    found: dict[str, list[Row]] = {}
    for pair in pairs:
        if config.keep.near and pair["kind"] == "book" and pair["similarity"] >= config.keep.similar:
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


def read_survey_unit(workspace: Workspace, unit: int) -> list[dict[str, Any]]:
    """Return the rows of one survey unit; measures come as a dict."""
    return read_table_unit(workspace.survey, unit, SURVEY).to_pylist(maps_as_pydicts="strict")


def read_pairs(workspace: Workspace) -> list[dict[str, Any]]:
    """Return what `match` found; nothing where it has not run."""
    return read_rows(workspace.pairs, PAIRS).to_pylist() if workspace.pairs.exists() else []


class Selection(NamedTuple):
    """A finished selection: what it was made from, with which options, and all judged rows."""

    fingerprint: str
    config: SelectConfig
    rows: pa.Table


def finish_selection(workspace: Workspace, config: SelectConfig, *, fingerprint: str, items: int) -> None:
    """Write down that the selection is whole: it is used only with this file, and with this many rows."""
    facts = {"fingerprint": fingerprint, "items": items, "config": asdict(config)}
    write_text(workspace.selection / _MARKER, json.dumps(facts) + "\n")


def begin_selection(workspace: Workspace) -> None:
    """Take away what an earlier selection left, its mark first: until the new one is finished there is none."""
    (workspace.selection / _MARKER).unlink(missing_ok=True)
    drop_units(workspace.selection, ())


def read_selection(workspace: Workspace, columns: Sequence[str] | None = None) -> Selection:
    """Read a finished selection, all columns or some.

    Raises DatasetError where it is not finished, or a part of it is lost or damaged.
    """
    marker = workspace.selection / _MARKER
    try:
        facts = json.loads(marker.read_text(encoding="utf-8"))
        key, items, config = facts["fingerprint"], facts["items"], _config(facts["config"])
    except FileNotFoundError as e:
        raise DatasetError(f"{workspace.selection} is not finished: run `longreel select` first") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DatasetError(f"{marker} cannot be read ({e}); run `longreel select` again") from e
    rows = read_units(workspace.selection, SURVEY, columns)
    if len(rows) != items:
        raise DatasetError(f"{workspace.selection} has {len(rows)} of {items} rows; run `longreel select` again")
    return Selection(key, config, rows)


def _config(values: Mapping[str, Any]) -> SelectConfig:
    """Return the configuration that `asdict` and JSON made `values` of."""
    plain, keep = dict(values), dict(values["keep"])
    for part in (plain, keep):
        part |= {name: tuple(value) for name, value in part.items() if isinstance(value, list)}
    return SelectConfig(**plain | {"keep": KeepConfig(**keep)})
