"""The elements of a job that the threads of one process take from a queue, so that all end at about the same time.

Beam's local runner divides the elements among its threads before they begin, whatever each of them costs. With an
engine whose workers are threads of one process (`Engine.shares_elements`), a thread takes the next element when it is
done with one, and Beam only decides how many threads there are. In any other process there is no queue, and a worker
processes the elements that Beam gives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Condition
from typing import Any

from pipeline.runtime.interrupt import is_stopping, request_stop
from schemas.runs.messages import messages

_QUIET_S = 1.0  # of waiting, without a message
_GRACE_S = 60.0  # for the other threads to complete their elements after an error
_SHARED: dict[str, SharedElements] = {}  # by run


class SharedElements:
    """The elements of a run that no thread has taken, and how many threads are at work."""

    def __init__(self, elements: Sequence[Any]) -> None:
        self._left = deque(elements)  # thread-safe
        self._at_work = 0
        self._changed = Condition()

    def take_all(self) -> Iterator[Any]:
        """Yield elements that no other thread takes, until none is left."""
        while True:
            try:
                element = self._left.popleft()
            except IndexError:
                return
            yield element

    def clear(self) -> None:
        """Leave no element."""
        self._left.clear()

    @contextmanager
    def clearing_on_error(self) -> Iterator[None]:
        """Leave no element to the other threads if the body raises, because the job fails then or is stopped."""
        try:
            yield
        except BaseException:
            self.clear()
            raise

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count this thread as at work in the body, which leaves no element to the others if it raises."""
        with self._changed:
            self._at_work += 1
        try:
            with self.clearing_on_error():
                yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def is_done(self, seconds: float) -> bool:
        """Wait for at most so long; return whether no thread is at work."""
        with self._changed:
            return self._changed.wait_for(lambda: self._at_work == 0, seconds)


@contextmanager
def sharing(run: str, elements: Sequence[Any]) -> Iterator[None]:
    """Let the threads of this process take the elements of a run while the body lasts.

    Beam raises the error of a thread while others are at work. They complete their elements first; after a minute they
    are requested to stop.
    """
    shared = _SHARED[run] = SharedElements(elements)
    try:
        yield
    finally:
        shared.clear()
        if not shared.is_done(_QUIET_S) and not is_stopping():
            messages.info("a worker failed; the others complete their units first")
        if not shared.is_done(_GRACE_S):
            request_stop(run)
            shared.is_done(_GRACE_S)
        del _SHARED[run]


def shared_elements(run: str) -> SharedElements | None:
    """Return the elements of a run; None if they are not shared in this process."""
    return _SHARED.get(run)
