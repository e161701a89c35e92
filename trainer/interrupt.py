"""Stopping cleanly: the first Ctrl-C (or SIGTERM) asks, and the loop looks between steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

import numpy as np
from jax.experimental import multihost_utils

from trainer.mesh import is_alone

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Turns the first signal into a request; a second one ends the process at once. A context manager.

    Outside the main thread, where Python delivers no signals, nothing is ever requested.
    """

    def __init__(self) -> None:
        self._requested = False
        self._before: dict[signal.Signals, object] = {}

    def requested(self) -> bool:
        """Tell whether to stop. Several processes agree on it, so all must ask equally often."""
        return self._requested

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._requested = True
