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
from typing import Any

Queue = deque[Any]  # thread-safe
_QUEUES: dict[str, Queue] = {}  # by run


@contextmanager
def sharing(run: str, elements: Sequence[Any]) -> Iterator[None]:
    """Let the threads of this process take the elements of a run while the body lasts."""
    queue = _QUEUES[run] = deque(elements)
    try:
        yield
    finally:
        queue.clear()
        del _QUEUES[run]


def queue_of(run: str) -> Queue | None:
    """Return the elements of a run that no thread has taken; None if it does not share them in this process."""
    return _QUEUES.get(run)


def take_all(queue: Queue) -> Iterator[Any]:
    """Yield elements that no other thread takes, until none is left."""
    while True:
        try:
            element = queue.popleft()
        except IndexError:
            return
        yield element


@contextmanager
def clearing_on_error(queue: Queue | None) -> Iterator[None]:
    """Leave no element to the other threads if the body raises, because the job fails then or is stopped."""
    try:
        yield
    except BaseException:
        if queue is not None:
            queue.clear()
        raise
