"""Opened workers of this process: models and decoders are loaded once a process, however many bundles an engine makes.

A bundle borrows an opened worker and gives it back; only one bundle uses it at a time, so a process has as many as it
has threads at work. They are closed when the job ends (local engine), when a bundle of another run borrows (a process
of Dask serves many jobs), or when the process exits.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple, Protocol

import cloudpickle


class Worker(Protocol):
    """The work of a job. Beam pickles it, so it holds configuration only."""

    def open(self) -> AbstractContextManager[Callable[..., Any]]:
        """Load what the work needs, and return a context with the function to call with each element."""
        ...


class Opened(NamedTuple):
    """An opened worker: what it is called by, and what closes it."""

    key: tuple[str, bytes]  # run and configuration
    work: Callable[..., Any]
    resources: ExitStack

    def close(self) -> None:
        """Close what the worker opened."""
        self.resources.close()


_IDLE: list[Opened] = []
_LOCK = threading.Lock()


def borrow(run: str, worker: Worker) -> Opened:
    """Return an idle opened worker of a run with this configuration, or open one; those of other runs are closed."""
    key = run, cloudpickle.dumps(worker)
    close_idle(lambda opened: opened.key[0] != run)
    with _LOCK:
        found = next((opened for opened in _IDLE if opened.key == key), None)
        if found is not None:
            _IDLE.remove(found)
            return found
    resources = ExitStack()
    return Opened(key, resources.enter_context(worker.open()), resources)


def give_back(opened: Opened) -> None:
    """Make an opened worker available to the next bundle."""
    with _LOCK:
        _IDLE.append(opened)


def close_idle(which: Callable[[Opened], bool] = lambda opened: True) -> None:
    """Close idle workers."""
    with _LOCK:
        closed = [opened for opened in _IDLE if which(opened)]
        _IDLE[:] = [opened for opened in _IDLE if opened not in closed]
    for opened in closed:
        opened.close()


atexit.register(close_idle)
