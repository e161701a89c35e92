"""Options of the commands that show what happened to the items of a workspace: explain, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional, UseAppendAction

from pipeline.reports.explain import tables
from pipeline.reports.item_history import read_history
from pipeline.reports.page import render
from pipeline.runtime.progress import output
from pipeline.runtime.workspace import REPORT, Workspace
from schemas.files import write_text
from schemas.printable import json_text
from schemas.runs.messages import messages
from schemas.storage.option import Address, AddressOfPage


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Show every measure of one item and every decision about it: survey, dedup, select, tokenize, pack."""

    item: Positional[str]
    """An address as listed, a path, a file name, or a document id (its first 8 characters are enough)."""
    workspace: Address
    """The workspace."""
    json: bool = False
    """Print JSON instead of tables."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the history of the item."""
        history = read_history(Workspace.existing(self.workspace), self.item)
        if self.json:
            print(json_text(history.to_json(), indent=2))
            return
        console = output()
        for part in tables(history):
            console.print(part)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write an HTML report of a workspace: what was rejected and why, with examples, then kept items, duplicates, the
    counts of every job, histograms with limits, licenses, splits and datasets."""

    workspace: Positional[Address]
    """The workspace."""
    run: UseAppendAction[tuple[Path, ...]] = ()
    """Output folder of `longreel train` whose loss curve is shown. Repeat the option for several runs."""
    picture: UseAppendAction[tuple[Path, ...]] = ()
    """A picture that `longreel generate` wrote, which is shown. Repeat the option for several pictures."""
    out: AddressOfPage | None = None
    """The HTML file to write; /dev/stdout is standard output. Default: report.html in the workspace."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Write the page."""
        workspace = Workspace.existing(self.workspace)
        path = self.out or workspace.root / REPORT
        page = render(workspace, runs=self.run, pictures=self.picture)
        write_text(path, page)
        messages.info(f"report: {path}, {len(page.encode()) / 1e6:.1f} MB")
