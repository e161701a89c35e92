"""Progress of a job: a journal that workers append to, and a display that follows it.

A worker writes one short JSON line per record, with a single `write` to a file that is opened for appending, so that
lines of several processes do not mix. The display counts the lines: a progress bar on a terminal, otherwise a line of
text every ten seconds. The journal is for people; no result depends on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from schemas.printable import printable

MADE, KEPT, REJECTED = "made", "kept", "rejected"
WORKING = "working"  # on a record that takes long; not an outcome
_TERMINAL_S, _PLAIN_S = 0.2, 10.0
_FILE_WIDTH = 160


class DataConsole(Console):
    """A console whose strings are data: file names and messages, in which no control and no markup takes effect."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string, which may be a cell of a table, as it is printed."""
        return super().render_str(printable(text), **options)


console = DataConsole(stderr=True)


def output() -> Console:
    """Return the console for the output of a command: standard output, as wide as the terminal, or fixed for a file."""
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return DataConsole(width=width)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that is safe to print."""
    return printable(json.dumps(value, indent=indent, allow_nan=False), keep="\n")


def note(journal: Path, outcome: str, **facts: Any) -> None:
    """Append the outcome of one record (MADE, KEPT or REJECTED), or WORKING, and facts about it to the journal."""
    line = json_text({"time": round(time.time(), 3), "outcome": outcome, **facts}) + "\n"
    # A journal that cannot be written (full disk) must not hide the error of the output itself.
    with contextlib.suppress(OSError):
        descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


class _Follower:
    """Counts the outcomes appended to a journal after the follower was created."""

    def __init__(self, journal: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.working = ""  # on which record, if the last line of the journal says so
        self._path = journal
        self._at = journal.stat().st_size if journal.exists() else 0
        self._rest = b""

    def read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            block = file.read()
        self._at += len(block)
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if line["outcome"] == WORKING:
            self.working = f"working on {printable(Path(line['uri']).name)} for {line['seconds']:.0f} s"
        else:
            self.counts[line["outcome"]] += 1
            self.working = ""


@contextmanager
def following(job: str, journal: Path, total: int) -> Iterator[None]:
    """Show the progress of `job` through its `total` records while the body runs."""
    with contextlib.suppress(OSError):
        journal.parent.mkdir(parents=True, exist_ok=True)
    follower, done = _Follower(journal), threading.Event()
    show = _bar if console.is_terminal else _lines
    thread = threading.Thread(target=show, args=(job, follower, total, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _bar(job: str, follower: _Follower, total: int, done: threading.Event) -> None:
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}, rejected {task.fields[rejected]} {task.fields[working]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(job, total=total, rate="", rejected=0, working="")
        while True:
            last = done.wait(_TERMINAL_S)
            follower.read()
            n = follower.counts.total()
            rate = f"{n / max(time.monotonic() - started, 1e-3):.1f}/s"
            rejected = follower.counts[REJECTED]
            progress.update(task, completed=n, rate=rate, rejected=rejected, working=follower.working)
            if last:
                return


def _lines(job: str, follower: _Follower, total: int, done: threading.Event) -> None:
    started = time.monotonic()
    while not done.wait(_PLAIN_S):
        follower.read()
        n, passed = follower.counts.total(), time.monotonic() - started
        left = f"{(total - n) * passed / n:.0f} s" if n else "unknown"
        rejected = follower.counts[REJECTED]
        working = f", {follower.working}" if follower.working else ""
        console.print(f"{job}: {n} of {total}, {n / passed:.1f}/s, rejected {rejected}, time left {left}{working}")
