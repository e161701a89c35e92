"""Run a command of Longreel from Python, and read what it did with the items."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.cli.parse import parse
from pipeline.cli.settings import record
from pipeline.cli.subcommands import SUBCOMMANDS, split_name, unknown_subcommand
from pipeline.reports.listing import REJECTED, ItemFilter, list_items
from pipeline.runtime.workspace import Workspace
from schemas.errors import UsageError
from schemas.storage.location import Location


def run(*arguments: str | Path) -> None:
    """Run a command, as in a terminal: `run("run", "videos", "--out", "data", "--context", "4096")`.

    Every command that a terminal has is allowed, without Beam options. Raises UsageError for an unknown command or
    option and for invalid values, and LongreelError, its base class, for whatever stops the command; the message is
    that of the terminal. Interrupted (KeyboardInterrupt in a notebook) leaves what was made; the same call resumes.
    """
    name, rest = split_name([str(argument) for argument in arguments])
    if name not in SUBCOMMANDS:
        raise UsageError(unknown_subcommand(name))
    try:
        command = parse(SUBCOMMANDS[name].load(), rest, prog=f"longreel {name}")
    except SystemExit as e:  # of the parser, which has printed what is wrong
        if e.code:
            raise UsageError(f"wrong options for `longreel {name}`; see what is printed above") from e
        return
    command(())
    record(name, command)


def items(workspace: str | Path) -> pa.Table:
    """Return all items of a workspace as an Arrow table, sorted by `uri`; all columns are strings.

    The columns are uri, kind (video, image, book, qa or another), state (kept, rejected or pending), job (which
    rejected the item), reason, detail, split, license, source, title, document_id and content_id (SHA-256). Raises
    ConfigError if there is no workspace, DatasetError if it lists no items or is damaged.
    """
    return list_items(Workspace.existing(Location.parse(workspace)), ItemFilter())


def rejections(workspace: str | Path) -> pa.Table:
    """Return the rejected items as a table with the columns of `items`. Raises as `items`."""
    return list_items(Workspace.existing(Location.parse(workspace)), ItemFilter(state=REJECTED))
