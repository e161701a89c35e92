"""Clean interruption: the first Ctrl-C or SIGTERM requests a stop, which long work checks between its steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def starting_child() -> Iterator[None]:
    """Start a child process in the body that Ctrl-C does not end, not even while it imports: its parent decides.

    The child inherits that SIGINT is blocked. In the parent the signal waits until the body is left.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopRequest:
    """Turns the first signal into a request to stop; a second signal ends the process. A context manager.

    Where several processes train together they must stop after the same step, or the others wait for ever: `agree`
    receives this process's request and returns the same answer in every process. `notify` is called in the signal
    handler by the first signal.

    Python delivers signals to the main thread only. In any other thread the context manager installs no handler.
    """

    def __init__(self, *, agree: Callable[[bool], bool] = bool, notify: Callable[[], None] = lambda: None) -> None:
        self._agree, self._notify = agree, notify
        self._requested = threading.Event()
        self._previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def is_requested(self) -> bool:
        """Return whether to stop. Where `agree` is given, all processes must call this together."""
        return self._agree(self._requested.is_set())

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        self._requested.clear()

    def _request(self, number: int, _: FrameType | None) -> None:
        if self._requested.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._requested.set()
        self._notify()
