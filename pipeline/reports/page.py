"""The report: one self-contained HTML file that shows what happened to every item of a workspace, and why.

The page has no script and loads nothing. Text from data is escaped. The same workspace gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filters.limit_table import DEFAULTS
from pipeline.kinds.registry import names_of_text_kinds
from pipeline.reports import histograms as svg
from pipeline.reports.examples import Examples, choose_examples
from pipeline.reports.funnel import Items
from pipeline.reports.histograms import histograms, measured_columns
from pipeline.reports.tables import tables_of
from pipeline.reports.template import load_template
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import as_options

_TEMPLATE = Path(__file__).with_name("templates") / "report.html"


def render(workspace: Workspace) -> str:
    """Return the page. Raises DatasetError for a table that is damaged or has another schema version."""
    items = Items.read(workspace)
    is_text = pc.is_in(items.surveyed["kind"], pa.array(names_of_text_kinds()))
    visual, text = items.surveyed.filter(pc.invert(is_text)), items.surveyed.filter(is_text)
    limits = items.selection.limits if items.selection else DEFAULTS
    examples = choose_examples(workspace, items)
    values: dict[str, Any] = {
        "name": workspace.root.name,
        "listed": len(items.listed),
        "selected": items.selection is not None,
        "options": as_options(items.selection) if items.selection else "",
        "steps": list(items.steps()),
        "visual_histograms": list(histograms(measured_columns(visual), limits)),
        "text_items": len(text),
        "text_histograms": list(histograms(measured_columns(text), limits)),
        "tables": {section: tables_of(section, items) for section in ("funnel", "books", "licenses")},
        "examples": examples,
        "anchors": _anchors(examples),
        "svg": svg,
    }
    return load_template(_TEMPLATE).render(values)


def _anchors(examples: Examples) -> dict[str, str]:
    """Return the id of the section that shows examples of each reason."""
    anchors = {section.name: f"reason-{section.name}" for section in examples.rejected}
    return anchors | (dict.fromkeys(("duplicate", "near_duplicate"), "duplicates") if examples.groups else {})
