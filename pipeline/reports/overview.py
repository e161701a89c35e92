"""The first lines of the report: totals, when and with which version and configuration the workspace was made."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass

import pyarrow.compute as pc

from pipeline.reports.funnel import Items, counts, kept_items
from pipeline.reports.tables import duration, with_durations_and_words
from pipeline.runtime.settings import NAME
from pipeline.runtime.workspace import Workspace, usable
from schemas.errors import LongreelError
from schemas.runs.messages import LOG

_TAIL = 65_536  # bytes of the log that are read


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Figures of a workspace as text; "" for what is not known."""

    totals: tuple[tuple[str, str], ...]  # name and value
    licenses: tuple[tuple[str, int], ...]  # of kept items, most frequent first
    changed: str  # date and time of the last entry of the log, UTC
    version: str  # of the Longreel that wrote the page
    configuration: str  # config.toml


def overview(workspace: Workspace, items: Items) -> Overview:
    """Return the figures of a workspace."""
    kept = with_durations_and_words(kept_items(items.surveyed))
    hours, words = (pc.sum(kept[name]).as_py() or 0.0 for name in ("video_s", "words"))
    tokens = pc.sum(usable(items.tokenized)["length"]).as_py() or 0
    rejected = len(items.surveyed) - len(items.surveyed.filter(pc.is_null(items.surveyed["reason"])))
    lost = len(items.tokenized) - len(usable(items.tokenized))
    return Overview(
        totals=(
            ("items", f"{len(items.listed):,}"),
            ("rejected", f"{rejected + lost:,}"),
            ("kept", f"{len(kept) - lost:,}"),
            ("video kept", duration(hours)),
            ("words kept", f"{words:,.0f}"),
            ("tokens", f"{tokens:,}"),
        ),
        licenses=tuple(counts(pc.fill_null(kept["license"], "not specified")).items()),
        changed=_last_entry(workspace),
        version=importlib.metadata.version("longreel"),
        configuration=_text(workspace, NAME),
    )


def _last_entry(workspace: Workspace) -> str:
    try:
        last = _text(workspace, "logs", LOG)[-_TAIL:].splitlines()[-1]
        return str(json.loads(last)["time"])[:16].replace("T", " ")
    except (ValueError, KeyError, TypeError, IndexError):
        return ""


def _text(workspace: Workspace, *names: str) -> str:
    place = workspace.root
    for name in names:
        place = place / name
    try:
        return place.read().decode(errors="replace") if place.exists() else ""
    except (OSError, LongreelError):
        return ""
