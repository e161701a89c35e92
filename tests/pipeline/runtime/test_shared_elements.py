"""Elements are taken once, by whichever thread is free, and only where a run shares them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from pipeline.runtime import shared_elements as module
from pipeline.runtime.dofns import DoEachShared
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.shared_elements import shared_elements, sharing

DONE: list[int] = []


@dataclass(frozen=True)
class Recording:
    """Appends each element to DONE; fails at `fail`."""

    fail: int | None = None

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        yield self.work

    def work(self, element: int) -> None:
        if element == self.fail:
            raise ZeroDivisionError
        DONE.append(element)


@pytest.fixture
def log(tmp_path: Path) -> JobLog:
    DONE.clear()
    return JobLog.start(tmp_path / "logs", "job")


def started(log: JobLog, fail: int | None = None) -> DoEachShared:
    made = DoEachShared(Recording(fail), log, "element")
    made.setup()
    return made


def test_threads_take_each_element_once() -> None:
    with sharing("run", range(10_000)), ThreadPoolExecutor(4) as threads:
        shared = shared_elements("run")
        taken = list(threads.map(lambda _: list(shared.take_all()), range(4)))
    assert sorted(element for elements in taken for element in elements) == list(range(10_000))


def test_elements_are_shared_until_their_run_ends() -> None:
    with sharing("run", [1, 2]):
        shared = shared_elements("run")
    assert list(shared.take_all()) == []
    assert shared_elements("run") is None


def test_the_end_of_a_run_waits_for_threads_at_work_and_requests_a_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, stopped, stops = Event(), Event(), []
    monkeypatch.setattr(module, "_QUIET_S", 0.05)
    monkeypatch.setattr(module, "_GRACE_S", 0.05)
    monkeypatch.setattr(module, "request_stop", lambda run: (stops.append(run), stopped.set()))

    def work() -> bool:
        with shared_elements("run").working():
            begun.set()
            return stopped.wait(30)

    with ThreadPoolExecutor(1) as threads:
        with sharing("run", [1]):
            result = threads.submit(work)
            assert begun.wait(30)
        assert result.result()
    assert stops == ["run"]
    assert capsys.readouterr().err.endswith("a worker failed; the others complete their units first\n")


def test_without_shared_elements_a_worker_processes_the_elements_that_it_is_given(log: JobLog) -> None:
    worker = started(log)
    assert [n for element in (3, 4) for n in worker.process(element)] == [1, 1]
    assert DONE == [3, 4]


def test_a_worker_processes_the_shared_elements_and_counts_its_elements(log: JobLog) -> None:
    with sharing(log.run, [0, 1, 2]):
        worker = started(log)
        assert [list(worker.process(element)) for element in (1, 0, 2)] == [[1, 1, 1], [], []]
    assert DONE == [0, 1, 2]


def test_an_error_leaves_no_element(log: JobLog) -> None:
    with sharing(log.run, [0, 1, 2]):
        with pytest.raises(ZeroDivisionError):
            list(started(log, fail=1).process(0))
        assert list(started(log).process(0)) == []
    assert DONE == [0]


def test_a_worker_that_cannot_open_leaves_no_element() -> None:
    with sharing("run", [1]):
        shared = shared_elements("run")
        with pytest.raises(KeyboardInterrupt), shared.working():
            raise KeyboardInterrupt
        assert list(shared.take_all()) == []
        assert shared.is_done(0)
