from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from pipeline.runtime import opened_workers
from pipeline.runtime.beam import Runner, run_each
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.opened_workers import Opened
from schemas.errors import ConfigError, InternalError, Interrupted, StorageError


@dataclass(frozen=True)
class Touch:
    """Writes one file per element, marks every time it is opened, and fails as `fail` says."""

    folder: Path
    fail: str = ""

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        if self.fail == "open":
            raise ConfigError("no model at x")
        marker = self.folder / f"open-{uuid.uuid4()}"
        marker.touch()
        yield self.write
        marker.rename(marker.with_name(marker.name + "-closed"))

    def write(self, element: int) -> None:
        if self.fail == "storage":
            raise StorageError("cannot write x: No space left on device.\nFree some space.")
        if self.fail == "bug":
            raise ZeroDivisionError("a defect")
        if self.fail == "stop" and element == 0:
            os.kill(os.getpid(), signal.SIGINT)
        with (self.folder / f"element-{element}").open("x") as f:
            f.write(str(element))


def started(folder: Path) -> JobLog:
    return JobLog.start(folder / "logs", "job")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_is_called_once_with_each_element_for_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    run_each(list(range(20)), Touch(tmp_path), Runner(workers), log=started(tmp_path))
    assert {p.name for p in tmp_path.glob("element-*")} == {f"element-{i}" for i in range(20)}


@dataclass(frozen=True)
class Waiting:
    """Writes one file per element; element 0 waits for those of the others, or for an error, which element 1 can be."""

    folder: Path
    elements: int
    fails: bool = False

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        yield self.write

    def write(self, element: int) -> None:
        if element == 1 and self.fails:
            (self.folder / "failed").touch()
            raise StorageError("no space left")
        if element == 0:
            until = time.monotonic() + 60
            while time.monotonic() < until and not self._may_continue():
                time.sleep(0.01)
        time.sleep(0.05)
        (self.folder / f"element-{element}").touch()

    def _may_continue(self) -> bool:
        names = {path.name for path in self.folder.iterdir()}
        return "failed" in names or len(names & {f"element-{i}" for i in range(self.elements)}) == self.elements - 1


def test_other_threads_process_all_elements_while_one_takes_long(tmp_path: Path) -> None:
    log = JobLog.start(tmp_path / "logs", "job")
    (folder := tmp_path / "made").mkdir()
    began = time.monotonic()
    run_each(list(range(9)), Waiting(folder, 9), Runner(2), log=log)
    assert len(list(folder.iterdir())) == 9
    assert time.monotonic() - began < 60


def test_after_an_error_no_thread_begins_another_element(tmp_path: Path) -> None:
    log = JobLog.start(tmp_path / "logs", "job")
    (folder := tmp_path / "made").mkdir()
    with pytest.raises(StorageError, match="no space left"):
        run_each(list(range(40)), Waiting(folder, 40, fails=True), Runner(2), log=log)
    time.sleep(0.5)  # for threads that would go on
    assert len(list(folder.iterdir())) < 10


@dataclass(frozen=True)
class Slow:
    """Element 0 fails once element 1 has begun; element 1 takes longer, and writes whether its worker was closed."""

    folder: Path

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        closed = threading.Event()
        yield partial(self.write, closed)
        closed.set()
        (self.folder / f"closed-{uuid.uuid4()}").touch()

    def write(self, closed: threading.Event, element: int) -> None:
        if element == 0:
            while not (self.folder / "begun").exists():
                time.sleep(0.01)
            raise StorageError("no space left")
        (self.folder / "begun").touch()
        time.sleep(1)
        (self.folder / f"closed during the work: {closed.is_set()}").touch()


@pytest.mark.parametrize("workers", [2, 3])
def test_after_an_error_a_thread_completes_its_element_with_an_open_worker(tmp_path: Path, workers: int) -> None:
    log = started(tmp_path / "logs")
    with pytest.raises(StorageError, match="no space left"):
        run_each(list(range(4)), Slow(tmp_path), Runner(workers), log=log)
    names = {path.name for path in tmp_path.iterdir()}
    assert "closed during the work: False" in names
    assert len([name for name in names if name.startswith("closed-")]) >= 1
    assert not idle_workers_of(log.run)


def idle_workers_of(run: str) -> list[Opened]:
    return [opened for opened in opened_workers._IDLE if opened.key[0] == run]


def test_the_worker_is_closed_at_the_end(tmp_path: Path) -> None:
    run_each([1, 2], Touch(tmp_path), Runner(), log=started(tmp_path))
    assert [p.name.endswith("-closed") for p in tmp_path.glob("open-*")] == [True]


def test_an_error_of_a_worker_is_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"No space left on device.\nFree some space.$"):
        run_each([1], Touch(tmp_path, "storage"), Runner(), log=started(tmp_path))


@pytest.mark.parametrize("workers", [1, 3])
def test_an_internal_error_names_the_file_with_the_traceback(tmp_path: Path, workers: int) -> None:
    log = started(tmp_path)
    with pytest.raises(
        InternalError, match=f"internal error in a worker: ZeroDivisionError: a defect\n.*report.*{log.error_text}"
    ):
        run_each([1], Touch(tmp_path, "bug"), Runner(workers), log=log)
    assert b"in write\n" in log.error_text.read()
    assert list(log.logs.walk()) == [log.error_text]
    run_each([1], Touch(tmp_path), Runner(), log=started(tmp_path))
    assert not log.error_text.exists()


def test_an_error_while_a_worker_opens_is_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model at x"):
        run_each([1], Touch(tmp_path, "open"), Runner(), log=started(tmp_path))


@pytest.mark.parametrize("workers", [1, 2])
def test_beam_prints_no_traceback_when_a_job_is_stopped_or_fails(
    tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    for fail, error in (("stop", Interrupted), ("storage", StorageError)):
        with pytest.raises(error):
            run_each(list(range(20)), Touch(tmp_path, fail=fail), Runner(workers), log=started(tmp_path / fail))
    assert "Traceback" not in capfd.readouterr().err


def test_ctrl_c_ends_the_job_between_elements(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="Run the same command"):
        run_each(list(range(50)), Touch(tmp_path, "stop"), Runner(), log=started(tmp_path))
    assert len(list(tmp_path.glob("element-*"))) < 50


def test_ctrl_c_during_the_last_element_interrupts_the_job(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_each([0], Touch(tmp_path, "stop"), Runner(), log=started(tmp_path))
    assert (tmp_path / "element-0").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--runer=FlinkRunner", "has no option --runer; to use another runner, give --engine"),
        ("--runner=NoSuch", "--runner=NoSuch is not the local engine; give --engine beam"),
    ],
)
def test_an_option_that_beam_does_not_know_is_an_error(option: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_each([0], Touch(tmp_path), Runner(1, (option,)), log=started(tmp_path))
    assert not list(tmp_path.iterdir())


def test_zero_workers_are_an_error() -> None:
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        Runner(0)
