"""Progress of a job, as its workers' journals tell it (pipeline.runtime.journal), and the console.

The driver reads the summaries of the journals of the elements that are not done: a progress bar on a terminal,
otherwise a line of text every ten seconds. It is the same on every engine.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.runtime.job_log import SUFFIX, JobLog
from pipeline.runtime.journal import REJECTED, Summary, defects_in
from schemas.errors import LongreelError
from schemas.printable import printable
from schemas.runs.messages import DataConsole, console, messages
from schemas.spelled_time import spelled_time
from schemas.storage.location import Location

_TERMINAL_S, _STORE_S, _PLAIN_S = 0.2, 5.0, 10.0  # between reads of the journals: for a terminal, from a store, as text
_FILE_WIDTH = 160


def output() -> Console:
    """Return the console for the output of a command: standard output, as wide as the terminal, or fixed for a file."""
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return DataConsole(width=width)


class _Follower:
    """Sums up the journals of a run: how many records have which outcome, and which one takes long."""

    def __init__(self, log: JobLog) -> None:
        self.counts: Counter[str] = Counter()
        self.working = ""
        self.is_local = log.folder.is_local
        self._folder = log.folder
        self._done: Counter[str] = Counter()  # counts of the journals that are complete
        self._names: set[str] = set()  # of these journals, which are read once
        self._defects: list[Location] = []  # those of them that have tracebacks

    def read(self) -> None:
        """Read the journals that may have changed. One that cannot be read now is read the next time."""
        with contextlib.suppress(OSError, LongreelError):
            running = [summary for place in self._folder.list(f"*{SUFFIX}") if (summary := self._summary(place))]
            self.counts = sum((Counter(summary.counts) for summary in running), self._done.copy())
            self.working = _longest(running)

    def _summary(self, place: Location) -> Summary | None:
        """Return the summary of a journal that is not complete."""
        if place.name in self._names or (summary := Summary.read(place)) is None:
            return None
        if not summary.done:
            return summary
        self._names.add(place.name)
        self._done.update(summary.counts)
        if summary.defects:
            self._defects.append(place)
        return None

    def defects(self) -> str:
        """Return the tracebacks of the run."""
        with contextlib.suppress(OSError, LongreelError, ValueError, KeyError):
            return "\n".join(text for place in self._defects for text in defects_in(place))
        return ""


def _longest(running: Sequence[Summary]) -> str:
    """Return which record takes longest, and how many others take long."""
    working = sorted((s for s in running if s.working_uri), key=lambda s: s.working_s)
    if not working:
        return ""
    name = printable(PurePosixPath(working[-1].working_uri).name)
    others = f", {len(working) - 1} more take long" if len(working) > 1 else ""
    return f"working on {name} for {working[-1].working_s:.0f} s{others}"


@contextmanager
def following(title: str, log: JobLog, total: int) -> Iterator[None]:
    """Show the progress of a job through its `total` records while the body runs, and collect tracebacks of defects."""
    follower, done = _Follower(log), threading.Event()
    show = _bar if messages.shows_bars else _lines
    thread = threading.Thread(target=show, args=(title, follower, total, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        follower.read()
        if defects := follower.defects():
            log.add_defects(defects)


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
            last = done.wait(_TERMINAL_S if follower.is_local else _STORE_S)
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
        left_s = round((total - n) * passed / n) if n else None
        left = spelled_time(left_s) if left_s is not None else "unknown"
        rejected = follower.counts[REJECTED]
        working = f", {follower.working}" if follower.working else ""
        messages.info(
            f"{job}: {n} of {total}, {n / passed:.1f}/s, rejected {rejected}, time left {left}{working}",
            event="progress",
            job=job,
            done=n,
            total=total,
            rejected=rejected,
            seconds_left=left_s,
        )
