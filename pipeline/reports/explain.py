"""The history of one item as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.filters.numbers import shown
from pipeline.kinds.registry import kind_of
from pipeline.reports.item_history import (
    DedupHistory,
    ItemHistory,
    Measure,
    PackHistory,
    SelectHistory,
    TokenizeHistory,
    Verdict,
)
from schemas.counted import counted
from schemas.printable import printable
from schemas.rows import Cut

_MAX_CUTS, _MAX_PAIRS, _MAX_RANGES = 40, 20, 3  # shown
_UNITS = {
    "size_bytes": ("size", " bytes"),
    "duration_s": ("duration", " s"),
    "width": ("width", " pixels"),
    "height": ("height", " pixels"),
    "start_s": ("start", " s"),
    "frame_rate": ("frame rate", " per second"),
    "bit_depth": ("bit depth", " bits"),
}


def tables(history: ItemHistory) -> Iterator[Table | str]:
    """Yield what to print of a history."""
    yield printable(history.item["uri"])
    yield _facts_table(history)
    if history.survey.state == "pending":
        return
    if history.measures:
        yield _measures_table(history.measures, history.options)
    if history.cuts:
        yield from _cuts_table(history.cuts)
    if history.dedup.pairs:
        yield _pairs_table(history.dedup, unit=kind_of(history.item["kind"]).position_unit)
    yield _decisions_table(history)


def _facts_table(history: ItemHistory) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in {**history.item, **history.survey.facts}.items():
        if name != "uri":
            label, unit = _UNITS.get(name, (name.replace("_", " "), ""))
            table.add_row(label, printable(_format(name, value) + unit))
    for address in history.copies:
        table.add_row("same content", printable(address))
    return table


def _format(name: str, value: Any) -> str:
    if name == "crop":
        left, top, width, height = value
        return f"{width} x {height} at {left}, {top}"
    if name == "captions":
        return " | ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown(value) if isinstance(value, float | int) else str(value)


def _measures_table(measures: list[Measure], options: str) -> Table:
    source = f"the options {options}" if options else "the default options"
    table = Table(title=f"measures, with the limits of {printable(source)}", title_justify="left")
    for name in ("measure", "value", "at least", "at most"):
        table.add_column(name, justify="left" if name == "measure" else "right")
    table.add_column("")
    table.add_column("description")
    for measure in measures:
        bounds = ["" if bound is None else shown(bound) for bound in (measure.at_least, measure.at_most)]
        mark = f"✗ {measure.violation}" if measure.violation else "✓" if any(bounds) else ""
        value = measure.value if isinstance(measure.value, str) else shown(measure.value)
        style = "bold red" if measure.violation else None
        table.add_row(printable(measure.name), value, *bounds, mark, measure.description, style=style)
    return table


def _cuts_table(cuts: list[Cut]) -> Iterator[Table | str]:
    total = sum(cut.end - cut.start for cut in cuts)
    title = f"removed from the book: {total:,} characters in {counted(len(cuts), 'place')}"
    table = Table(title=title, title_justify="left")
    for name in ("from", "to", "characters"):
        table.add_column(name, justify="right")
    table.add_column("reason")
    table.add_column("detail", overflow="fold")
    for cut in cuts[:_MAX_CUTS]:
        places = (cut.start, cut.end, cut.end - cut.start)
        table.add_row(*(f"{n:,}" for n in places), cut.reason, printable(cut.detail or ""))
    yield table
    if len(cuts) > _MAX_CUTS:
        yield f"{len(cuts) - _MAX_CUTS:,} more are not shown; --json lists all"


def _pairs_table(dedup: DedupHistory, *, unit: str) -> Table:
    table = Table(title=f"shares content with {_others(dedup.found)}", title_justify="left")
    table.add_column("other item", overflow="fold")
    for name in ("contains of this", "this contains of it", "similarity"):
        table.add_column(name, justify="right")
    table.add_column(f"ranges of this ({unit})", overflow="fold")
    for pair in dedup.pairs[:_MAX_PAIRS]:
        ranges = [f"{shown(start)}–{shown(end)}" for start, end in pair.shared[:_MAX_RANGES]]
        more = " …" if len(pair.shared) > _MAX_RANGES else ""
        shares = (f"{share:.0%}" for share in (pair.containment, pair.containment_of_other, pair.similarity))
        name = next(iter(pair.addresses), pair.content_id)
        table.add_row(printable(name), *shares, ", ".join(ranges) + more)
    return table


def _decisions_table(history: ItemHistory) -> Table:
    table = Table(title="decisions", title_justify="left")
    for name in ("job", "outcome", "detail"):
        table.add_column(name, overflow="fold")
    for job, outcome, detail in _decisions(history):
        table.add_row(job, outcome, printable(detail), style="bold red" if outcome.startswith("rejected") else None)
    return table


def _decisions(history: ItemHistory) -> Iterator[tuple[str, str, str]]:
    yield "survey", _outcome(history.survey), history.survey.detail or ""
    dedup = history.dedup
    yield "dedup", dedup.state, f"shares content with {_others(dedup.found)}" if dedup.found else ""
    yield "select", _outcome(history.select), "; ".join(_select_details(history.select))
    yield "tokenize", _outcome(history.tokenize), "; ".join(_tokenize_details(history.tokenize))
    for packed in history.pack:
        yield f"pack {Path(packed.dataset).name}", packed.state, _pack_detail(packed)


def _others(count: int) -> str:
    return counted(count, "other item")


def _outcome(verdict: Verdict) -> str:
    return f"{verdict.state}: {verdict.reason}" if verdict.reason else verdict.state


def _select_details(select: SelectHistory) -> Iterator[str]:
    if select.detail:
        yield select.detail
    if select.kept_content:
        yield f"kept instead: {select.kept_item or select.kept_content}"
    if select.split:
        yield f"split {select.split}, determined by {select.split_source}"
    if select.text_from:
        shift = f", shifted by {select.transcript_shift_s:+.1f} s" if select.transcript_shift_s else ""
        yield f"text of its copy {', '.join(select.text_from)}{shift}"
    if select.cluster and select.cluster_size > 1:
        yield f"one of {counted(select.cluster_size, 'item')} in cluster {select.cluster[:12]}"


def _tokenize_details(tokenize: TokenizeHistory) -> Iterator[str]:
    if tokenize.documents > 1:
        yield counted(tokenize.documents, "clip")
    if tokenize.length:
        yield f"{tokenize.length:,} tokens"
    if tokenize.frames:
        yield counted(tokenize.frames, "frame")
    if tokenize.frames_promised > tokenize.frames:
        yield f"the container promised {counted(tokenize.frames_promised, 'frame')}"
    if tokenize.cues:
        yield counted(tokenize.cues, "cue")
    if tokenize.detail:
        yield tokenize.detail


def _pack_detail(packed: PackHistory) -> str:
    if packed.state == "packed":
        copies = f", {counted(packed.copies, 'copy', 'copies')}" if packed.copies > 1 else ""
        sequences = f"{counted(packed.sequences, 'sequence')} of {packed.split}"
        return f"{packed.tokens:,} tokens in {sequences}{copies}; the first is {packed.first}"
    if packed.left_out:
        counts = ", ".join(f"{n:,} {reason}" for reason, n in sorted(packed.left_out.items()))
        return f"documents not in this dataset: {counts}"
    return packed.detail or ""
