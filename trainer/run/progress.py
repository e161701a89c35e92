"""How far training has come: a bar with loss, rate and time left on a terminal, plain lines elsewhere. On stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_PLAIN_S = 10.0


class Progress:
    """Shows the steps of a run; a context manager.

    Only the first of several processes should make it visible.
    """

    def __init__(self, *, steps: int, done: int, visible: bool = True) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=not visible)
        self._steps, self._first, self._started = steps, done, time.monotonic()
        self._spoken = self._started
        columns = (
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[what]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("train", total=steps, completed=done, what="compiling")

    def say(self, line: str) -> None:
        """Print a line; on a terminal, above the bar."""
        self._console.print(line, markup=False)

    def start(self) -> None:
        """Begin to measure the time left; call it when the first step can run."""
        self._started = self._spoken = time.monotonic()

    def step(self, step: int, *, loss: float, tokens_per_s: float) -> None:
        """Show that `step` steps are done."""
        what = f"loss {loss:.4f}, {tokens_per_s:,.0f} tokens/s"
        self._bar.update(self._task, completed=step, what=what)
        now = time.monotonic()
        if self._console.is_terminal or (now - self._spoken < _PLAIN_S and step < self._steps):
            return
        self._spoken = now
        left = (self._steps - step) * (now - self._started) / max(step - self._first, 1)
        self.say(f"train: step {step} of {self._steps}, {what}, time left {left:.0f} s")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
