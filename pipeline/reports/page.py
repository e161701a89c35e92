"""The report: one self-contained HTML file that shows what happened to every item of a workspace, and why.

The page has no script and loads nothing. Text from data is escaped. The same workspace gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filters.limit_table import DEFAULTS
from pipeline.kinds.registry import names_of_text_kinds
from pipeline.reports import histograms as svg
from pipeline.reports import training
from pipeline.reports.examples import Examples, choose_examples
from pipeline.reports.funnel import Items, counts
from pipeline.reports.histograms import histograms, measured_columns
from pipeline.reports.names import readable
from pipeline.reports.overview import overview
from pipeline.reports.tables import tables_of
from pipeline.reports.template import load_template
from pipeline.reports.training import picture_uri, read_training
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import as_options

_TEMPLATE = Path(__file__).with_name("templates") / "report.html"


def render(workspace: Workspace, *, runs: Sequence[Path] = (), pictures: Sequence[Path] = ()) -> str:
    """Return the page, with the loss curves of training runs and with generated pictures.

    Raises DatasetError for a table that is damaged or has another schema version, ConfigError for a run without metrics
    or a picture that cannot be shown.
    """
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
        "overview": overview(workspace, items),
        "runs": [read_training(run) for run in runs],
        "pictures": [(path.name, picture_uri(path)) for path in pictures],
        "visual_histograms": list(histograms(measured_columns(visual), limits)),
        "text_items": len(text),
        "text_histograms": list(histograms(measured_columns(text), limits)),
        "tables": {section: tables_of(section, items) for section in ("funnel", "books", "licenses")},
        "examples": examples,
        "rejected": counts(pa.chunked_array([*_reasons(items)], pa.string())),
        "anchors": _anchors(examples),
        "svg": svg,
        "curve": training,
        "readable": readable,
    }
    return load_template(_TEMPLATE).render(values)


def _reasons(items: Items) -> Iterator[pa.Array]:
    """Yield the reason of every rejected item."""
    for table in (items.surveyed, items.tokenized):
        yield from table["reason"].drop_null().chunks


def _anchors(examples: Examples) -> dict[str, str]:
    """Return the id of the section that shows examples of each reason."""
    anchors = {section.name: f"reason-{section.name}" for section in examples.rejected}
    return anchors | (dict.fromkeys(("duplicate", "near_duplicate"), "duplicates") if examples.groups else {})
