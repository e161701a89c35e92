from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.runtime.beam import Runner, run_each
from schemas.errors import ConfigError, Interrupted, JobError, StorageError


@dataclass(frozen=True)
class Touch:
    """Writes one file an element, counts its own openings, and fails where it is told to."""

    folder: Path
    fail: str = ""

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        marker = self.folder / f"open-{threading.get_ident()}"
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


@pytest.mark.parametrize("workers", [1, 3])
def test_each_element_is_worked_on_once_whatever_the_number_of_workers(tmp_path: Path, workers: int) -> None:
    run_each(list(range(20)), Touch(tmp_path), Runner(workers))
    assert {p.name for p in tmp_path.glob("element-*")} == {f"element-{i}" for i in range(20)}


def test_the_worker_is_closed_at_the_end(tmp_path: Path) -> None:
    run_each([1, 2], Touch(tmp_path), Runner())
    assert [p.name.endswith("-closed") for p in tmp_path.glob("open-*")] == [True]


def test_our_own_error_comes_back_as_itself(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"No space left on device.\nFree some space.$"):
        run_each([1], Touch(tmp_path, "storage"), Runner())


def test_a_defect_in_a_worker_is_a_job_error_that_quotes_it(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="a defect"):
        run_each([1], Touch(tmp_path, "bug"), Runner())


def test_ctrl_c_ends_the_job_between_elements(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="Run the same command"):
        run_each(list(range(50)), Touch(tmp_path, "stop"), Runner())
    assert len(list(tmp_path.glob("element-*"))) < 50


def test_ctrl_c_during_the_last_element_is_not_forgotten(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_each([0], Touch(tmp_path, "stop"), Runner())
    assert (tmp_path / "element-0").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [("--runer=FlinkRunner", "no option --runer"), ("--runner=NoSuch", "--runner=NoSuch: Unexpected pipeline runner")],
)
def test_an_option_that_beam_does_not_know_is_refused(option: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_each([0], Touch(tmp_path), Runner(1, (option,)))
    assert not list(tmp_path.iterdir())


def test_no_worker_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        Runner(0)
