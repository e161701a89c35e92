"""The DoFns of all jobs. They surround the work on an element with its journal, its errors and requests to stop."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics

from pipeline.runtime.interrupt import in_run, raise_if_stopping
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.journal import Journal, noting_in
from pipeline.runtime.opened_workers import Opened, Worker, borrow, give_back
from pipeline.runtime.shared_elements import Queue, clearing_on_error, queue_of, take_all
from pipeline.runtime.worker_errors import ErrorLog

_NAMESPACE = "longreel"  # of the counters that a runner's UI shows


@contextmanager
def processing(log: JobLog, name: str) -> Iterator[None]:
    """Surround the work on an element, of which `name` is unique in its job and the same when it is tried again."""
    with ErrorLog(log).recording(), in_run(log.run), noting_in(Journal(log.journal(name), _count)):
        raise_if_stopping()
        yield


def _count(name: str, n: int) -> None:
    Metrics.counter(_NAMESPACE, name).inc(n)


def element_name(label: str, element: Any) -> str:
    """Return the name of the journal of an element: a number, or a name or number with what belongs to it."""
    first = element[0] if isinstance(element, tuple) else element
    text = f"{first:05d}" if isinstance(first, int) else re.sub(r"[^\w-]", "_", str(first))
    return f"{label}-{text}"


class DoEach(beam.DoFn):
    """Borrows an opened worker, calls it with every element, gives it back; yields 1 for the count."""

    def __init__(self, worker: Worker, log: JobLog, label: str) -> None:
        self._worker, self._log, self._label = worker, log, label
        self._opened: Opened | None = None

    def setup(self) -> None:
        """Load models and start decoders; not in the constructor, which runs where the job is submitted."""
        with ErrorLog(self._log).recording():
            self._opened = borrow(self._log.run, self._worker)

    def process(self, element: Any) -> Iterator[int]:
        """Call the worker with one element, and yield 1."""
        with self._on(element) as work:
            work(element)
        yield 1

    def teardown(self) -> None:
        """Give the worker back."""
        if self._opened is not None:
            give_back(self._opened)
            self._opened = None

    @contextmanager
    def _on(self, element: Any) -> Iterator[Callable[..., Any]]:
        """Yield the function to call with an element. After an error the worker is closed, as its state is unknown."""
        if self._opened is None:
            self.setup()
        assert self._opened is not None
        try:
            with processing(self._log, element_name(self._label, element)):
                yield self._opened.work
        except BaseException:
            opened, self._opened = self._opened, None
            opened.close()
            raise


class DoEachShared(DoEach):
    """Like DoEach; with a queue (`pipeline.runtime.shared_elements`), takes elements from it, whichever Beam gives."""

    _queue: Queue | None = None

    def setup(self) -> None:
        """Find the queue, and open the worker."""
        self._queue = queue_of(self._log.run)
        with clearing_on_error(self._queue):
            super().setup()

    def process(self, element: Any) -> Iterator[int]:
        """Call the worker with the element, or with all elements that no other thread takes; yield 1 for each."""
        with clearing_on_error(self._queue):
            for taken in [element] if self._queue is None else take_all(self._queue):
                yield from super().process(taken)


class DoEachAfter(DoEach):
    """Like DoEach; the side input delays it until the stage that computes the side input is done."""

    def process(self, element: Any, before: Any) -> Iterator[int]:  # type: ignore[override]
        """Call the worker with one element, and yield 1."""
        yield from super().process(element)


class YieldEach(DoEach):
    """Like DoEach, and yields what the worker yields."""

    def process(self, element: Any) -> Iterator[Any]:
        """Yield the worker's results for one element."""
        with self._on(element) as work:
            yield from work(element)


class Apply(beam.DoFn):
    """Yields the results of a function that needs no resources."""

    def __init__(self, function: Callable[[Any], Iterable[Any]], log: JobLog) -> None:
        self._function, self._log = function, log

    def process(self, element: Any) -> Iterator[Any]:
        """Yield the results for one element."""
        with ErrorLog(self._log).recording(), in_run(self._log.run):
            raise_if_stopping()
            yield from self._function(element)
