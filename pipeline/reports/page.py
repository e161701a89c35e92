"""The report as a page: one HTML file with all that it needs in it, which says what became of every item and why.

The page has no script and loads nothing; names that come from data are escaped. Same workspace, same bytes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from tyro.conf import Positional

from pipeline.filters.limit_table import DEFAULTS
from pipeline.reports import histograms as page_histogram
from pipeline.reports import tables as page_tables
from pipeline.reports.examples import choose_samples
from pipeline.reports.funnel import TEXT_KINDS, Items
from pipeline.reports.histograms import histograms, measured_columns
from pipeline.runtime.progress import console, readable
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import as_options
from schemas.files import write_text

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write a page about a workspace: the funnel with reasons, histograms with limits, thumbnails, books, licenses."""

    directory: Positional[Path]
    """The workspace."""
    to: Path | None = None
    """The HTML file to write. Default: report.html in the workspace."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Write the page."""
        workspace = Workspace.existing(self.directory)
        path = self.to or workspace.root / "report.html"
        page = render(workspace)
        write_text(path, page)
        console.print(f"report: {path}, {len(page.encode()) / 1e6:.1f} MB")


def render(workspace: Workspace) -> str:
    """Return the page; raises DatasetError for a table that is damaged or of another version."""
    items = Items.read(workspace)
    rows = items.surveyed
    is_text = pc.is_in(rows["kind"], TEXT_KINDS)
    limits = items.selection.limits if items.selection else DEFAULTS
    books = rows.filter(is_text)
    samples = choose_samples(workspace, items)
    linked = {section.name: f"reason-{section.name}" for section in samples.rejected}
    linked |= dict.fromkeys(("duplicate", "near_duplicate"), "duplicates") if samples.groups else {}
    facts: dict[str, Any] = {
        "name": workspace.root.name,
        "listed": len(items.listed),
        "selected": items.selection is not None,
        "options": as_options(items.selection) if items.selection else "",
        "steps": list(items.steps()),
        "kinds": page_tables.kinds_table(items),
        "pictures": list(histograms(measured_columns(rows.filter(pc.invert(is_text))), limits)),
        "books": len(books),
        "book_pictures": list(histograms(measured_columns(books), limits)),
        "book_tables": list(page_tables.books_tables(items)),
        "samples": samples,
        "linked": linked,
        "licenses": page_tables.licenses_table(items),
        "splits": page_tables.splits_table(items),
        "datasets": page_tables.datasets_table(items),
        "histogram": page_histogram,
    }
    return _template().render(facts)


def _printable(value: Any) -> Any:
    """Spell what a page may not hold, or what would turn its text around; what is markup already is left alone."""
    return readable(value) if type(value) is str else value


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment.get_template("report.html")
