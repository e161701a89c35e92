"""The journal of an element of a job: what the worker that processes it did, for the driver and for people.

The worker writes the whole object again from time to time, so that it needs neither a shared file nor a connection, and
what it wrote survives a kill. The first line is the summary, which the driver reads while the job runs; then comes one
line per record. No result depends on a journal.

`note` is called where a record is processed. The journal it goes to is that of the current context, which
`pipeline.runtime.dofns` sets; without one, as in a test that calls a worker itself, nothing is noted.
"""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import InputError, LongreelError, Reason
from schemas.printable import json_text, printable
from schemas.storage.location import Location

MADE, KEPT, REJECTED = "made", "kept", "rejected"
WORKING = "working"  # on a record that takes long; not an outcome
DEFECT = "defect"  # the traceback of an item that is rejected; not an outcome
OUTCOMES = (MADE, KEPT, REJECTED)
_SUMS = ("tokens", "frames", "video_seconds")  # facts that are counted
_WRITE_EVERY_S = 2.0
_MAX_WRITE_SHARE = 0.05  # of the time: a large journal, or a slow store, is written less often
_SUMMARY_BYTES = 1 << 16
_CURRENT: ContextVar[Journal | None] = ContextVar("journal", default=None)


@dataclass(frozen=True)
class Summary:
    """The first line of a journal."""

    counts: dict[str, int] = field(default_factory=dict)  # records by outcome
    defects: int = 0
    done: bool = False
    working_uri: str = ""  # the record that takes long, if the last line is about one
    working_s: float = 0.0

    @classmethod
    def read(cls, location: Location) -> Summary | None:
        """Read the summary of a journal, None if there is none."""
        try:
            return cls(**json.loads(location.read(limit=_SUMMARY_BYTES).partition(b"\n")[0]))
        except (OSError, LongreelError, ValueError, TypeError):
            return None


class Journal:
    """Collects the records of one element; `count` is called with the name of each counter and what to add."""

    def __init__(self, location: Location, count: Callable[[str, int], None] = lambda name, n: None) -> None:
        self._location, self._count = location, count
        self._lines: list[str] = []
        self._counts = dict.fromkeys(OUTCOMES, 0)
        self._defects = 0
        self._working: dict[str, Any] = {}
        self._next_write = 0.0

    def note(self, outcome: str, facts: dict[str, Any]) -> None:
        """Add the outcome of a record, WORKING or DEFECT, and facts about it."""
        self._lines.append(json_text({"time": round(time.time(), 3), "outcome": outcome, **facts}) + "\n")
        self._working = {}
        if outcome == WORKING:
            self._working = {"working_uri": str(facts["uri"])[:1000], "working_s": facts["seconds"]}
        elif outcome == DEFECT:
            self._defects += 1
        else:
            self._counts[outcome] += 1
            self._add_to_counters(outcome, facts)
        if outcome == WORKING or time.monotonic() >= self._next_write:
            self._write(done=False)

    def close(self, *, done: bool) -> None:
        """Write what was noted, if anything was; `done` if the work on the element is."""
        if self._lines:
            self._working = {}
            self._write(done=done)

    def _add_to_counters(self, outcome: str, facts: dict[str, Any]) -> None:
        self._count(f"items_{outcome}", 1)
        if reason := facts.get("reason"):
            self._count(f"rejected_{reason}", 1)
        for name in _SUMS:
            if n := round(facts.get(name) or 0):
                self._count(name, n)

    def _write(self, *, done: bool) -> None:
        started = time.monotonic()
        summary = json_text({"counts": self._counts, "defects": self._defects, "done": done, **self._working})
        # A journal that cannot be written (full disk) must not hide the error of the output itself.
        with contextlib.suppress(OSError, LongreelError):
            self._location.write("".join([summary, "\n", *self._lines]).encode())
        finished = time.monotonic()
        self._next_write = finished + max(_WRITE_EVERY_S, (finished - started) / _MAX_WRITE_SHARE)


def note(outcome: str, **facts: Any) -> None:
    """Note the outcome of one record (MADE, KEPT or REJECTED), or WORKING, and facts about it."""
    if (journal := _CURRENT.get()) is not None:
        journal.note(outcome, facts)


def note_defect(error: InputError) -> None:
    """Note the traceback of an InputError that is a defect (FAILED); other errors need none."""
    if error.reason is Reason.FAILED:
        note(DEFECT, traceback=printable("".join(traceback.format_exception(error)), keep="\n"))


@contextmanager
def noting_in(journal: Journal) -> Iterator[None]:
    """Let `note` write to a journal while the body runs, and close it; a body that raises is not done."""
    token = _CURRENT.set(journal)
    done = False
    try:
        yield
        done = True
    finally:
        _CURRENT.reset(token)
        journal.close(done=done)


def defects_in(location: Location) -> Iterator[str]:
    """Yield the tracebacks in a journal, each with its time."""
    for text in location.read().splitlines()[1:]:
        line = json.loads(text)
        if line["outcome"] == DEFECT:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["time"]))
            yield f"{when}\n{line['traceback']}\n"
