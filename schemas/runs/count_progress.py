"""How many of a total are done, on stderr: a line that changes on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time

from schemas.runs.messages import messages
from schemas.spelled_time import spelled_time

_PLAIN_S = 10.0


class CountProgress:
    """Shows how many of a total are done: on a terminal in one line, elsewhere in a line every ten seconds.

    `total` is None if it is not known.
    """

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._shown = time.monotonic()
        # The first count and its time: the time before it can be compilation.
        self._first: tuple[int, float] | None = None

    def show(self, done: int) -> None:
        """Show that `done` are done."""
        now = time.monotonic()
        first, since = self._first = self._first or (done, now)
        if messages.shows_bars:
            print(f"\r{self._text(done)}", end="", file=sys.stderr, flush=True)
        elif now - self._shown >= _PLAIN_S:
            self._shown = now
            total, speed = self._total, (done - first) / (now - since) if done > first else 0.0
            left = None if total is None or not speed else round((total - done) / speed)
            text = self._text(done) + ("" if left is None else f", time left {spelled_time(left)}")
            messages.info(text, event="progress", job=self._what, done=done, total=total, seconds_left=left)

    def close(self, done: int) -> None:
        """Show the last count, and end the line of the terminal."""
        if messages.shows_bars:
            print(f"\r{self._text(done)}", file=sys.stderr, flush=True)

    def _text(self, done: int) -> str:
        of_all = "" if self._total is None else f" of {self._total:,}"
        return f"{self._what}: {done:,}{of_all} {self._unit}"
