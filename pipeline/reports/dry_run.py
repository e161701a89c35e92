"""A trial of select: what other options would keep, from the survey's rows alone. Nothing is decoded or written.

Rows are judged by the functions that the job runs. Those that share content with no other are judged as they are read,
a unit at a time; only the others are held until their clusters are whole. What is kept of a judged row is one line of
a table. Cost: 0.15 ms and about 1 kB an item.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.table import Table

from pipeline.dedup.pairs import read_pairs
from pipeline.filters.limit_filter import require_known
from pipeline.filters.numbers import measured_names
from pipeline.runtime.progress import readable
from pipeline.runtime.units import read_rows, unit_files, unit_number
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.select.config import SelectConfig, as_options
from pipeline.select.rules import Matches, judge_cluster
from pipeline.select.selection import read_selection
from pipeline.survey.table import read_survey_unit
from schemas.errors import DatasetError
from schemas.records import SURVEY

Row = Mapping[str, Any]
SHOWN = 20  # items that are named
_BATCH = 10_000

_VERDICTS = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("split", pa.string()),  # of what goes on
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("video_s", pa.float64(), nullable=False),  # 0 for what is no video
        pa.field("words", pa.float64(), nullable=False),  # of a book, without the passages that are cut; else 0
    ]
)
_READ = ("uri", "kind", "split", "reason", "detail", "duration_s", "measures", "cuts")


def judge_survey(workspace: Workspace, config: SelectConfig) -> Iterator[dict[str, Any]]:
    """Yield every surveyed row as `select` would leave it with these options.

    Raises DatasetError where nothing was surveyed, ConfigError for a limit on a number that no item has.
    """
    paths = unit_files(workspace.survey)
    if not paths:
        raise DatasetError(f"nothing is surveyed in {workspace.root}: run `longreel survey INPUT ... --out DIR` first")
    measures = (read_rows(path, SURVEY, ["measures"])["measures"] for path in paths)
    require_known(config.limits, itertools.chain.from_iterable(map(measured_names, measures)))
    matches = Matches.of(read_pairs(workspace), config.keep)
    sharing = {*_repeated(workspace), *matches.cluster}
    groups: dict[str, list[Row]] = {}
    for path in paths:
        for row in map(matches.join, read_survey_unit(workspace, unit_number(path))):
            if row["content_id"] in sharing:
                groups.setdefault(row["cluster"], []).append(row)
            else:
                yield from judge_cluster([row], (), config)
    for cluster, rows in groups.items():
        yield from judge_cluster(rows, matches.pairs.get(cluster, ()), config)


def _repeated(workspace: Workspace) -> list[str]:
    """Return the contents that several items have."""
    surveyed = read_units(workspace.survey, SURVEY, ["uri", "document_id", "content_id"])
    counts = pc.value_counts(pc.coalesce(surveyed["content_id"], surveyed["document_id"], surveyed["uri"]))
    return counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist()


def verdicts(rows: Iterable[Row]) -> pa.Table:
    """Return judged rows as a table of one line each, sorted by address."""
    batches, batch = [], []
    for row in rows:
        batch.append(_verdict(row))
        if len(batch) == _BATCH:
            batches.append(pa.Table.from_pylist(batch, _VERDICTS))
            batch = []
    batches.append(pa.Table.from_pylist(batch, _VERDICTS))
    return pa.concat_tables(batches).sort_by("uri")


def _verdict(row: Row) -> dict[str, Any]:
    measures = dict(row["measures"] or {})
    words, characters = measures.get("words") or 0.0, measures.get("characters") or 0.0
    cut = at = 0
    for one in row["cuts"] or ():
        cut += max(0, one["end"] - max(at, one["start"]))
        at = max(at, one["end"])
    shares = {"video_s": (row["duration_s"] or 0.0) if row["kind"] == "video" else 0.0}
    shares["words"] = words * max(0.0, 1 - cut / characters) if characters else words
    aside = {"split": None} if row["reason"] else {}
    return {name: row.get(name) for name in _VERDICTS.names} | shares | aside


def current(workspace: Workspace) -> tuple[SelectConfig, pa.Table] | None:
    """Return the selection that stands, its options and the verdicts; None where there is none that is finished."""
    try:
        selection = read_selection(workspace, _READ)
    except DatasetError:
        return None
    batches = selection.rows.to_batches(max_chunksize=_BATCH)
    return selection.config, verdicts(row for batch in batches for row in batch.to_pylist())


@dataclass(frozen=True)
class Tally:
    """What a selection comes to."""

    on: int = 0
    splits: Mapping[str, int] = field(default_factory=dict)
    aside: Mapping[str, int] = field(default_factory=dict)
    hours: float = 0.0  # of the videos that go on
    words: float = 0.0  # of the books that go on

    @classmethod
    def of(cls, judged: pa.Table) -> Tally:
        """Count the verdicts."""
        on = judged.filter(pc.is_null(judged["reason"]))
        hours, words = (pc.sum(on[name]).as_py() or 0.0 for name in ("video_s", "words"))
        return cls(
            on=len(on),
            splits=_counts(on["split"]),
            aside=_counts(judged["reason"].drop_null()),
            hours=hours / 3600,
            words=words,
        )


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(sorted((row["values"], row["counts"]) for row in pc.value_counts(column).to_pylist()))


def changes(before: pa.Table, after: pa.Table) -> pa.Table:
    """Return the items whose verdict or split differs, by address, with `_before` beside each column."""
    columns = ["uri", "reason", "detail", "split"]
    joined = after.select(columns).join(
        before.select(columns), "uri", join_type="inner", right_suffix="_before", use_threads=False
    )
    differs = [
        pc.not_equal(*(pc.fill_null(joined[name + suffix], "") for suffix in ("", "_before")))
        for name in ("reason", "split")
    ]
    return joined.filter(pc.or_(*differs)).sort_by("uri")


def tally_table(before: Tally | None, after: Tally) -> Table:
    """Return both tallies side by side."""
    table = Table(title="select with these options, without doing it")
    table.add_column("")
    for name in ("now", "then", "change") if before else ("then",):
        table.add_column(name, justify="right")
    empty = Tally()
    new, old = _lines(after, before or empty), _lines(before or empty, after)
    for name, number in new.items():
        places = 2 if name.startswith("hours") else 0
        cells = [f"{number:,.{places}f}"]
        if before:
            change = round(number, places) - round(old[name], places)
            cells = [f"{old[name]:,.{places}f}", *cells, f"{change:+,.{places}f}" if change else ""]
        table.add_row(readable(name), *cells, style="bold" if name in ("go on", "set aside") else None)
    return table


def _lines(tally: Tally, other: Tally) -> dict[str, float]:
    """Return a tally's lines, those of both tallies, so that two stand side by side."""
    splits, reasons = sorted({*tally.splits, *other.splits}), sorted({*tally.aside, *other.aside})
    return {
        "go on": tally.on,
        **{f"  in {name}": tally.splits.get(name, 0) for name in splits},
        "hours of video": tally.hours,
        "words of books": tally.words,
        "set aside": sum(tally.aside.values()),
        **{f"  {reason}": tally.aside.get(reason, 0) for reason in reasons},
    }


def change_lines(changed: pa.Table, limit: int = SHOWN) -> Iterator[str]:
    """Yield a line for each of the first `limit` items that would change."""
    if not len(changed):
        yield "no item would change"
        return
    yield f"{len(changed):,} items would change" + (f"; the first {limit} by address:" if len(changed) > limit else ":")
    for row in changed.slice(0, limit).to_pylist():
        was, now = (_state(row, suffix) for suffix in ("_before", ""))
        detail = row["detail"] if row["reason"] else row["detail_before"]
        yield readable(f"  {row['uri']}: {was} → {now}{f' ({detail})' if detail else ''}")


def _state(row: Row, suffix: str) -> str:
    return str(row[f"reason{suffix}"] or f"goes on in {row[f'split{suffix}']}")


def trial_report(workspace: Workspace, config: SelectConfig) -> Iterator[Table | str]:
    """Yield what to print: what the options would come to, beside the selection that stands."""
    after = verdicts(judge_survey(workspace, config))
    listed = pq.read_metadata(workspace.manifest).num_rows if workspace.manifest.exists() else len(after)
    if listed != len(after):
        yield f"{len(after):,} of {listed:,} listed items are surveyed; the others are not counted"
    if not workspace.pairs.exists():
        yield "near-duplicates have not been looked for yet, so none is counted"
    standing = current(workspace)
    if standing is None:
        yield "there is no selection to compare with"
        yield tally_table(None, Tally.of(after))
        return
    options, before = standing
    yield f"now:  {as_options(options) or 'the defaults'}"
    yield f"then: {as_options(config) or 'the defaults'}"
    yield tally_table(Tally.of(before), Tally.of(after))
    if strangers := len(pc.unique(pa.chunked_array([*before["uri"].chunks, *after["uri"].chunks]))) - len(before):
        yield f'{strangers:,} items were surveyed after the selection was made, and are counted under "then" alone'
    yield from change_lines(changes(before, after))
