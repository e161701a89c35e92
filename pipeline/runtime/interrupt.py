"""Stopping cleanly: Ctrl-C sets a flag that long work looks at between records and frame batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from schemas.errors import Interrupted

_STOP = threading.Event()


def is_stopping() -> bool:
    """Tell whether the user asked to stop."""
    return _STOP.is_set()


def raise_if_stopping() -> None:
    """Raise Interrupted where the user asked to stop."""
    if _STOP.is_set():
        raise Interrupted("stopped; what was made is kept. Run the same command to go on from there.")


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to stop; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(number: int, _: FrameType | None) -> None:
        if _STOP.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _STOP.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _STOP.clear()
