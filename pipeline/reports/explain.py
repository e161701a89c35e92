"""Explain: every number and every decision about one item, at whatever stage the workspace is.

What is known is gathered in `dossier`; here it is shown, as tables or as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from tyro.conf import Positional

from pipeline.filters.numbers import shown
from pipeline.reports.item_history import NOT_YET, SET_ASIDE, gather
from pipeline.runtime.progress import output, readable
from pipeline.runtime.workspace import Workspace

Facts = Mapping[str, Any]
_CUTS, _PAIRS, _RANGES = 40, 20, 3  # shown at most
_UNITS = {
    "size_bytes": ("size", " bytes"),
    "duration_s": ("duration", " s"),
    "width": ("width", " pixels"),
    "height": ("height", " pixels"),
    "frame_rate": ("frame rate", " a second"),
}


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Show every number and every decision about one item: survey, dedup, select, tokenize, pack."""

    item: Positional[str]
    """An address as it is listed, a path, the name of a file, or a document's id (the first 8 characters will do)."""
    out: Path
    """The workspace."""
    json: bool = False
    """Print JSON instead of tables."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print what is known."""
        facts = gather(Workspace.existing(self.out), self.item)
        if self.json:
            print(json.dumps(facts, indent=2, allow_nan=False))
            return
        console = output()
        for part in tables(facts):
            console.print(part)


def tables(facts: Facts) -> Iterator[Table | str]:
    """Yield what to print of a dossier."""
    yield readable(facts["item"]["uri"])
    yield _facts_table(facts)
    if facts["survey"]["state"] == NOT_YET:
        return
    if facts["numbers"]:
        yield _numbers_table(facts)
    if facts["cuts"]:
        yield from _cuts_tables(facts["cuts"])
    if facts["dedup"].get("pairs"):
        yield _pairs_table(facts["dedup"], "s" if facts["item"]["kind"] == "video" else "characters")
    yield _decisions_table(facts)


def _facts_table(facts: Facts) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in {**facts["item"], **facts["survey"]}.items():
        if name not in ("uri", "state", "reason", "detail"):
            label, unit = _UNITS.get(name, (name.replace("_", " "), ""))
            table.add_row(label, readable(_spelled(name, value) + unit))
    for name in facts.get("copies", ()):
        table.add_row("same content", readable(name))
    return table


def _spelled(name: str, value: Any) -> str:
    if name == "crop":
        left, top, width, height = value
        return f"{width} x {height} at {left}, {top}"
    if name == "captions":
        return " | ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown(value) if isinstance(value, float | int) else str(value)


def _numbers_table(facts: Facts) -> Table:
    options = f"the options {facts['options']}" if facts["options"] else "the default options"
    table = Table(title=f"numbers, and their limits by {readable(options)}", title_justify="left")
    for name in ("number", "is", "at least", "at most"):
        table.add_column(name, justify="left" if name == "number" else "right")
    table.add_column("")
    table.add_column("what it is")
    for number in facts["numbers"]:
        low, high = number["at_least"], number["at_most"]
        bounds = ["" if bound is None else shown(bound) for bound in (low, high)]
        mark = f"✗ {number['broken']}" if number["broken"] else "✓" if any(bounds) else ""
        value = number["value"] if isinstance(number["value"], str) else shown(number["value"])
        style = "bold red" if number["broken"] else None
        table.add_row(readable(number["name"]), value, *bounds, mark, number["what"], style=style)
    return table


def _cuts_tables(cuts: list[Facts]) -> Iterator[Table | str]:
    total = sum(cut["end"] - cut["start"] for cut in cuts)
    table = Table(title=f"left out of the book: {total:,} characters in {len(cuts):,} places", title_justify="left")
    for name in ("from", "to", "characters"):
        table.add_column(name, justify="right")
    table.add_column("reason")
    table.add_column("why", overflow="fold")
    for cut in cuts[:_CUTS]:
        places = (cut["start"], cut["end"], cut["end"] - cut["start"])
        table.add_row(*(f"{n:,}" for n in places), cut["reason"], readable(cut["detail"] or ""))
    yield table
    if len(cuts) > _CUTS:
        yield f"{len(cuts) - _CUTS:,} more cuts are not shown; --json has all"


def _pairs_table(found: Facts, unit: str) -> Table:
    table = Table(title=f"shares content with {_others(found['found'])}", title_justify="left")
    table.add_column("with", overflow="fold")
    for name in ("it has of this", "this has of it", "alike"):
        table.add_column(name, justify="right")
    table.add_column(f"where in this ({unit})", overflow="fold")
    for pair in found["pairs"][:_PAIRS]:
        ranges = [f"{shown(r['start'])}–{shown(r['end'])}" for r in pair["shared"][:_RANGES]]
        more = " …" if len(pair["shared"]) > _RANGES else ""
        shares = (f"{pair[name]:.0%}" for name in ("it_has_of_this", "this_has_of_it", "similarity"))
        name = next(iter(pair["addresses"]), pair["with"])
        table.add_row(readable(name), *shares, ", ".join(ranges) + more)
    return table


def _decisions_table(facts: Facts) -> Table:
    table = Table(title="decisions", title_justify="left")
    for name in ("job", "outcome", "why"):
        table.add_column(name, overflow="fold")
    for job, outcome, why in _decisions(facts):
        table.add_row(job, outcome, readable(why), style="bold red" if outcome.startswith(SET_ASIDE) else None)
    return table


def _decisions(facts: Facts) -> Iterator[tuple[str, str, str]]:
    yield "survey", _outcome(facts["survey"]), facts["survey"].get("detail", "")
    found = facts["dedup"]
    yield "dedup", found["state"], f"shares content with {_others(found['found'])}" if found.get("found") else ""
    yield "select", _outcome(facts["select"]), "; ".join(_select_words(facts["select"]))
    tokenized = facts["tokenize"]
    counts = [f"{tokenized['documents']:,} clips"] if tokenized.get("documents", 1) > 1 else []
    counts += [
        f"{tokenized[n]:,} {words}" for n, words in (("length", "tokens"), ("frames", "frames")) if tokenized.get(n)
    ]
    if tokenized.get("frames_promised", 0) > tokenized.get("frames", 0):
        counts.append(f"{tokenized['frames_promised']:,} frames were promised")
    yield "tokenize", _outcome(tokenized), "; ".join([*counts, *filter(None, [tokenized.get("detail")])])
    for packed in facts["pack"]:
        yield f"pack {Path(packed['dataset']).name}", packed["state"], _pack_words(packed)


def _others(count: int) -> str:
    return "one other" if count == 1 else f"{count:,} others"


def _outcome(facts: Facts) -> str:
    return f"{facts['state']}: {facts['reason']}" if "reason" in facts else str(facts["state"])


def _select_words(selected: Facts) -> Iterator[str]:
    if "detail" in selected:
        yield selected["detail"]
    if "keeper" in selected:
        yield f"kept in its place: {selected['kept'] or selected['keeper']}"
    if "split" in selected:
        yield f"in {selected['split']} by {selected['split_by']}"
    if "cluster_size" in selected:
        yield f"one of {selected['cluster_size']:,} in its cluster {selected['cluster'][:12]}"


def _pack_words(packed: Facts) -> str:
    if packed["state"] == "packed":
        copies = f", {packed['copies']:,} times" if packed["copies"] > 1 else ""
        sequences = f"{packed['sequences']:,} sequence{'s' if packed['sequences'] > 1 else ''} of {packed['split']}"
        return f"{packed['tokens']:,} tokens in {sequences}{copies}; the first is {packed['first']}"
    if packed.get("left_out"):
        return "left out of it: " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(packed["left_out"].items()))
    return str(packed.get("detail", ""))
