"""Progress of a training run on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from schemas.runs.messages import console, messages
from schemas.spelled_time import spelled_time

_PLAIN_S = 10.0


class TrainingProgress:
    """Displays the steps of a run; a context manager.

    `title` begins every line. `done` is the step that the run resumes from, 0 for a new run. Where several processes
    train together, make only the display of the first one `visible`.
    """

    def __init__(self, title: str, *, steps: int, done: int, visible: bool = True) -> None:
        self._visible = visible
        self._title, self._steps, self._first = title, steps, done
        self._started = self._last_line = time.monotonic()
        columns = (
            TextColumn(title, markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not (visible and messages.shows_bars))
        self._task = self._bar.add_task(title, total=steps, completed=done, status="compiling")

    def log(self, text: str, *, event: str = "message", **fields: Any) -> None:
        """Say something, of which every line is a message; on a terminal, above the bar."""
        for line in text.split("\n") if self._visible else ():
            messages.info(line, event=event, **fields)

    def start(self) -> None:
        """Start the clock of the time left. Call this after compilation, before the first step."""
        self._started = self._last_line = time.monotonic()

    def update(self, step: int, status: str) -> None:
        """Display that `step` steps are done, with `status` such as "loss 2.31, 1,204 tokens/s"."""
        self._bar.update(self._task, completed=step, status=status)
        now = time.monotonic()
        if messages.shows_bars or (now - self._last_line < _PLAIN_S and step < self._steps):
            return
        self._last_line = now
        left_s = (self._steps - step) * (now - self._started) / max(step - self._first, 1)
        self.log(
            f"{self._title}: step {step} of {self._steps}, {status}, time left {spelled_time(round(left_s))}",
            event="progress",
            job=self._title,
            done=step,
            total=self._steps,
            seconds_left=round(left_s),
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
