"""Options of the command that lists the items of a workspace: list."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional, UseAppendAction

from pipeline.reports.listing import KEPT, REJECTED, ItemFilter, items_table, json_lines, list_items
from pipeline.runtime.progress import output
from pipeline.runtime.workspace import Workspace
from schemas.counted import counted
from schemas.errors import ConfigError
from schemas.runs.messages import messages
from schemas.storage.option import Address

_TABLE_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class List:
    """List the items of a workspace, kept and rejected, with the job and the reason.

    JSON lines have the fields uri, kind, state (kept, rejected or pending), job (that rejected it), reason, detail,
    split, license, source, title, document_id and content_id; a value that does not exist is null. The exit code is 0
    also when no item is found.
    """

    workspace: Positional[Address]
    """The workspace."""
    rejected: bool = False
    """List rejected items only."""
    kept: bool = False
    """List kept items only."""
    reason: UseAppendAction[tuple[str, ...]] = ()
    """List items that were rejected for this reason, for example near_duplicate. Can be repeated."""
    kind: UseAppendAction[tuple[str, ...]] = ()
    """List items of this kind: video, image, book or qa. Can be repeated."""
    license: UseAppendAction[tuple[str, ...]] = ()
    """List items under this license; "unknown" are those without one. Can be repeated."""
    split: UseAppendAction[tuple[str, ...]] = ()
    """List kept items of this split: train or val. Can be repeated."""
    source: UseAppendAction[tuple[str, ...]] = ()
    """List items from this source; "unknown" are those without one. Can be repeated."""
    limit: int | None = None
    """Maximum number of items. Default: 100 in a table, all as JSON lines."""
    format: Literal["table", "jsonl"] = "table"
    """Print a table, or one JSON object per line."""

    def __post_init__(self) -> None:
        if self.rejected and self.kept:
            raise ConfigError("--rejected and --kept exclude each other; without both, all items are listed")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}")
        self._filter()

    def _filter(self) -> ItemFilter:
        return ItemFilter(
            state=KEPT if self.kept else REJECTED if self.rejected else None,
            reasons=self.reason,
            kinds=self.kind,
            splits=self.split,
            licenses=self.license,
            sources=self.source,
        )

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the items, and their number to standard error."""
        items = list_items(Workspace.existing(self.workspace), self._filter())
        limit = self.limit or (_TABLE_ROWS if self.format == "table" else len(items))
        shown = items.slice(0, limit)
        if self.format == "jsonl":
            _print_lines(json_lines(shown))
        elif len(shown):
            output().print(items_table(shown))
        left = f", the first {len(shown):,} are listed" if len(shown) < len(items) else ""
        messages.info(f"list: {counted(len(items), 'item')}{left}")


def _print_lines(lines: Iterable[str]) -> None:
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has enough; Python would complain again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
