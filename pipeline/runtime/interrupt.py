"""Clean interruption of a job: Ctrl-C requests a stop, which long work checks between records and frame batches.

The request belongs to the process, as workers run in threads of the engine and have no argument to receive it by. In a
process of another engine the driver requests it by the name of the run, of which a process may serve several.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from schemas.deadline import time_limit
from schemas.errors import Interrupted
from schemas.runs.interrupt import StopRequest
from schemas.runs.messages import messages

_REPORT_S = 10.0
_STOP_TEXT = "stopping; what is complete is kept. A second signal ends the process at once"
_STOP = StopRequest(notify=lambda: messages.info_in_handler(_STOP_TEXT))
_RUN: ContextVar[str] = ContextVar("run", default="")
_STOPPED_RUNS: set[str] = set()


def is_stopping() -> bool:
    """Return whether the user requested a stop."""
    return _STOP.is_requested() or _RUN.get() in _STOPPED_RUNS


def request_stop(run: str) -> None:
    """Request a stop of the work on a run's elements in this process."""
    _STOPPED_RUNS.add(run)


@contextmanager
def in_run(run: str) -> Iterator[None]:
    """Let requests to stop a run apply to the body."""
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


def raise_if_stopping() -> None:
    """Raise Interrupted if the user requested a stop."""
    if is_stopping():
        raise Interrupted("stopped; what was made is kept. Run the same command to resume.")


def sleep_unless_stopping(seconds: float) -> bool:
    """Wait; return False at once if the user requests a stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if is_stopping():
            return False
        time.sleep(min(left, 0.1))
    return True


def item_limit(
    seconds: float | None, *, report: Callable[[float], None] = lambda seconds: None
) -> AbstractContextManager[None]:
    """Return the context of one item's work: `checkpoint` in it raises Interrupted, or TIMEOUT after `seconds`.

    `report` is called every ten seconds with the time that the item has taken so far.
    """
    started = time.monotonic()
    reports = 0

    def check() -> None:
        nonlocal reports
        raise_if_stopping()
        if (passed := time.monotonic() - started) > _REPORT_S * (reports + 1):
            reports = int(passed / _REPORT_S)
            report(passed)

    return time_limit(seconds, check=check)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to stop; a second one ends the process."""
    with _STOP:
        yield
