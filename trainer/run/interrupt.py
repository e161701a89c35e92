"""Stopping cleanly: the first Ctrl-C (or SIGTERM) asks, and the loop looks between steps.

Several processes have to stop after the same step, or those that go on would wait for the others for ever; so they ask
each other. A signal to one of them is enough.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import jax
import numpy as np
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Turns the first signal into a request; a second one ends the process at once. A context manager.

    Outside the main thread, where Python delivers no signals, nothing is ever requested.
    """

    def __init__(self) -> None:
        self._requested = False
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def is_requested(self) -> bool:
        """Tell whether to stop; the same in all processes, which must all ask."""
        if jax.process_count() == 1:
            return self._requested
        return bool(np.any(multihost_utils.process_allgather(np.array([self._requested]))))

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, _: FrameType | None) -> None:
        if self._requested:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._requested = True
