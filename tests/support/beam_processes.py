"""Processes that run Beam jobs for tests: a Dask scheduler with workers, and Beam's own server with a worker pool.

All end with the context that starts them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.run.group.launcher import free_port

_START_S = 120.0
_ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class DaskCluster:
    """The address of a scheduler, and the processes of its workers."""

    address: str
    workers: Sequence[subprocess.Popen[bytes]]


@contextmanager
def dask_cluster(
    folder: Path, workers: int = 2, *, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[DaskCluster]:
    """Run a Dask scheduler, and workers with some more environment variables; `prefix` goes before their commands."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    with ExitStack() as stack:
        scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        stack.enter_context(running(_module("distributed.cli", *scheduler), folder / "scheduler.log"))
        _wait_for(port)
        worker = ["dask_worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
        command = [*prefix, *_module("distributed.cli", *worker, "--local-directory", str(folder))]
        variables = {"PYTHONHASHSEED": "0"} | dict(environment or {})
        started = [stack.enter_context(running(command, folder / f"worker-{n}.log", variables)) for n in range(workers)]
        if workers:
            _wait_for_workers(address, workers)
        yield DaskCluster(address, started)


@contextmanager
def worker_pool(folder: Path) -> Iterator[tuple[str, ...]]:
    """Run Beam's local job server and an external worker pool; yield the Beam options that lead there."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs, pool = free_port(), free_port()
    server = _module("apache_beam.runners.portability", "local_job_service_main", "-p", str(jobs))
    workers = _module("apache_beam.runners.worker", "worker_pool_main", f"--service_port={pool}")
    with (
        running([*server, "--staging_dir", str(folder / "staging")], folder / "server.log"),
        running(workers, folder / "pool.log", {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}),
    ):
        _wait_for(jobs)
        _wait_for(pool)
        yield (
            "--runner=PortableRunner",
            f"--job_endpoint=127.0.0.1:{jobs}",
            "--environment_type=EXTERNAL",
            f"--environment_config=127.0.0.1:{pool}",
        )


@contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a group of its own, which is killed at the end."""
    variables = {**os.environ, "PYTHONPATH": _ROOT, "PYTHONWARNINGS": "ignore", **(environment or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=variables, start_new_session=True)
        try:
            yield process
        finally:
            with_group(process)
            process.wait()


def with_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        process.kill()


def _module(package: str, name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", f"{package}.{name}", *arguments]


def _wait_for(port: int) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def _wait_for_workers(address: str, workers: int) -> None:
    import distributed

    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=_START_S)
