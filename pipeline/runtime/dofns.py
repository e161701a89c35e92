"""The DoFns of all jobs. They surround the work on an element with its journal, its errors and requests to stop."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics

from pipeline.runtime.interrupt import in_run, raise_if_stopping
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.journal import Journal, noting_in
from pipeline.runtime.opened_workers import Opened, Worker, borrow, give_back
from pipeline.runtime.shared_elements import SharedElements, shared_elements
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
        self._is_over = False

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
        """Give the worker back. After an error Beam calls this in another thread, perhaps during `process`."""
        self._is_over = True
        if (opened := self._opened) is not None:
            self._opened = None
            give_back(opened)

    @contextmanager
    def _on(self, element: Any) -> Iterator[Callable[..., Any]]:
        """Yield the function to call with an element. After an error the worker is closed, as its state is unknown."""
        if self._opened is None:
            self.setup()
        opened, self._opened = self._opened, None  # in use: not to be given back
        assert opened is not None
        try:
            with processing(self._log, element_name(self._label, element)):
                yield opened.work
        except BaseException:
            opened.close()
            raise
        if self._is_over:
            give_back(opened)
        else:
            self._opened = opened


class DoEachShared(DoEach):
    """Like DoEach; where elements are shared (`pipeline.runtime.shared_elements`), takes whichever are left."""

    _shared: SharedElements | None = None

    def setup(self) -> None:
        """Find the shared elements, and open the worker."""
        self._shared = shared_elements(self._log.run)
        with nullcontext() if self._shared is None else self._shared.working():
            super().setup()

    def process(self, element: Any) -> Iterator[int]:
        """Call the worker with the element, or with all elements that no other thread takes; yield 1 for each."""
        if self._shared is None:
            yield from super().process(element)
            return
        with self._shared.working():
            for taken in self._shared.take_all():
                with self._on(taken) as work, self._shared.clearing_on_error():  # before the error is recorded
                    work(taken)
                yield 1


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
