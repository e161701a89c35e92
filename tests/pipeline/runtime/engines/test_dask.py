"""A Dask cluster of separate processes runs jobs, and what prevents it is one clear error."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.runtime.beam import Runner, run_each
from pipeline.runtime.engines import dask
from pipeline.runtime.engines.dask import DaskEngine, close_clusters
from pipeline.runtime.interrupt import is_stopping
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.journal import MADE, Summary, note
from schemas.errors import ConfigError, Interrupted, StorageError
from tests.support.beam_processes import DaskCluster, dask_cluster

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Work:
    """Notes which process opened it and which element it got; waits for a stop or fails if told to."""

    folder: Path
    task: str = ""

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        (self.folder / f"open-{os.getpid()}-{time.time_ns()}").touch()
        yield self.process

    def process(self, element: int) -> None:
        if self.task == "fail":
            raise StorageError("no space")
        (self.folder / f"element-{element}").touch()
        while self.task == "wait" and not is_stopping():
            time.sleep(0.02)
        note(MADE, uri=str(element))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


def run(folder: Path, address: str | None, task: str = "", *, elements: int = 8, reads: tuple[str, ...] = ()) -> JobLog:
    log = JobLog.start(folder / "logs", "job")
    runner = Runner(1, (), DaskEngine(address))
    run_each(list(range(elements)), Work(folder, task), runner, log=log, reads=reads)
    return log


def test_every_element_is_processed_and_a_process_opens_a_worker_once(tmp_path: Path, cluster: DaskCluster) -> None:
    log = run(tmp_path, cluster.address)
    assert {path.name for path in tmp_path.glob("element-*")} == {f"element-{n}" for n in range(8)}
    opened = [path.name.split("-")[1] for path in tmp_path.glob("open-*")]
    assert len(opened) == len(set(opened)) <= 2
    summaries = [Summary.read(place) for place in log.folder.list("*.jsonl")]
    assert [s.counts[MADE] for s in summaries if s and s.done] == [1] * 8


def test_an_error_of_a_worker_is_raised_unchanged(tmp_path: Path, cluster: DaskCluster) -> None:
    with pytest.raises(StorageError, match="^no space$"):
        run(tmp_path, cluster.address, "fail")


def test_ctrl_c_lets_the_workers_finish_what_they_made(tmp_path: Path, cluster: DaskCluster) -> None:
    def interrupt() -> None:
        while len(list(tmp_path.glob("element-*"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="Run the same command to resume"):
        run(tmp_path, cluster.address, "wait")
    (run_folder,) = (tmp_path / "logs" / "job").iterdir()
    assert len(list(run_folder.glob("*.jsonl"))) == len(list(tmp_path.glob("element-*"))) == 2
    run(tmp_path, cluster.address)  # the next run is not stopped
    assert len(list(tmp_path.glob("element-*"))) == 8


def test_a_scheduler_that_cannot_be_reached_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "_CONNECT_S", 1)
    with pytest.raises(ConfigError, match=r"the Dask scheduler 127.0.0.1:1 cannot be reached .*--scheduler tcp://"):
        run(tmp_path, "127.0.0.1:1")


def test_a_scheduler_without_workers_is_an_error(tmp_path: Path) -> None:
    with (
        dask_cluster(tmp_path / "dask", workers=0) as cluster,
        pytest.raises(ConfigError, match="has no workers; start some with `dask worker"),
    ):
        run(tmp_path, cluster.address)


def test_a_worker_without_a_path_that_it_reads_is_an_error(tmp_path: Path, cluster: DaskCluster) -> None:
    with pytest.raises(ConfigError, match=r"cannot reach /no/such/model; use storage that all machines share"):
        run(tmp_path, cluster.address, reads=("/no/such/model",))


def test_a_worker_with_other_packages_is_an_error(tmp_path: Path) -> None:
    other = tmp_path / "packages" / "numpy-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
    path = f"{other.parent}:{Path(__file__).parents[4]}"
    with (
        dask_cluster(tmp_path / "dask", workers=1, environment={"PYTHONPATH": path}) as cluster,
        pytest.raises(ConfigError, match=r"has other packages than this process: numpy 1.0 instead of "),
    ):
        run(tmp_path, cluster.address)


def test_workers_that_hash_strings_differently_are_an_error(tmp_path: Path) -> None:
    own_seed = ["sh", "-c", 'exec env PYTHONHASHSEED=$$ "$0" "$@"']  # its process id
    with (
        dask_cluster(tmp_path / "dask", prefix=own_seed) as cluster,
        pytest.raises(ConfigError, match="the Dask workers hash strings differently .*the same PYTHONHASHSEED"),
    ):
        run(tmp_path, cluster.address)


def test_a_cluster_of_this_machine_starts_and_ends(tmp_path: Path) -> None:
    try:
        run(tmp_path, None, elements=2)
        pids = {int(path.name.split("-")[1]) for path in tmp_path.glob("open-*")}
        assert os.getpid() not in pids
    finally:
        close_clusters()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
