"""Dask: a cluster given by the address of its scheduler, or one of processes of this machine.

Beam's DaskRunner works within limits that the jobs respect and this module makes up for: the runner's short name is not
known to Beam, more than one element a partition leaves workers idle, an unreachable scheduler or a worker without our
packages raises tracebacks, and strings are grouped wrongly by workers with different hash seeds.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import logging
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle

from pipeline.runtime.engines import dask_probe, dask_worker
from pipeline.runtime.engines.engine import Engine, new_pipeline
from pipeline.runtime.interrupt import request_stop
from pipeline.runtime.job_log import JobLog
from schemas.errors import ConfigError, JobError

if TYPE_CHECKING:
    import apache_beam as beam

_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
_ROOTS = ("pipeline", "schemas", "tokenizer")
_CONNECT_S = 10
_CLUSTERS = ExitStack()  # those that this process started, closed by `close_clusters`
_STARTED: dict[int, str] = {}  # their addresses, by the number of workers


@dataclass(frozen=True)
class DaskEngine(Engine):
    """A Dask cluster; without `scheduler`, one of `workers` processes of this machine."""

    scheduler: str | None = None

    @contextmanager
    def pipeline(
        self, log: JobLog, *, workers: int, options: tuple[str, ...], reads: Sequence[str]
    ) -> Iterator[beam.Pipeline]:
        """Return an empty pipeline, after the workers were examined."""
        distributed = _distributed()
        address = self.scheduler or _local_cluster(workers)
        with _connected(distributed, address) as client:
            _require_workers(client, address)
            _require_same_packages(client)
            _require_files(client, log, reads)
        yield new_pipeline(
            [f"--runner={_RUNNER}", f"--dask_client_address={address}", "--dask_partition_size=1", *options]
        )

    def request_stop(self, log: JobLog) -> bool:
        """Ask the workers to write what they made and to stop."""
        import distributed

        with contextlib.suppress(OSError, ValueError):
            distributed.get_client().run(request_stop, log.run)
            return True
        return False

    def failure(self, error: Exception) -> Exception:
        """Explain the death of a worker, which Dask reports after it has tried an element several times."""
        if type(error).__name__ == "KilledWorker":
            return JobError(
                f"Dask workers died again and again at the same element ({error}); they may lack memory: see the logs "
                "of the workers, and run the same command again to resume"
            )
        return error

    def close(self, result: Any) -> None:
        """Close the connection of Beam's runner, which it leaves open."""
        result.client.close()


def close_clusters() -> None:
    """Stop the workers that this process started."""
    _STARTED.clear()
    _CLUSTERS.close()


atexit.register(close_clusters)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as e:
        raise ConfigError("--engine dask needs Dask: pip install 'longreel[dask]'") from e
    for name in ("distributed", "distributed.worker", "distributed.nanny"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are raised
    return distributed


def _local_cluster(workers: int) -> str:
    """Return the address of a cluster of this process with so many workers; it is started the first time."""
    if workers not in _STARTED:
        import distributed

        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # the default kills a worker that uses more than its share
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            preload=[dask_worker.__name__],
        )
        _CLUSTERS.callback(cluster.close)
        _STARTED[workers] = str(cluster.scheduler_address)
    return _STARTED[workers]


@contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    try:
        with warnings.catch_warnings(category=distributed.versions.VersionMismatchWarning, action="ignore"):
            client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)  # we compare versions
    except (OSError, ValueError, ImportError) as e:  # ImportError: a protocol whose library is missing
        raise ConfigError(
            f"the Dask scheduler {address} cannot be reached ({e}); start one with `dask scheduler`, and give its "
            "address, for example --scheduler tcp://host:8786"
        ) from e
    with client:
        yield client


def _require_workers(client: Any, address: str) -> None:
    if not client.scheduler_info()["workers"]:
        raise ConfigError(f"the Dask scheduler {address} has no workers; start some with `dask worker {address}`")


def _require_same_packages(client: Any) -> None:
    """Raise ConfigError if a worker has other packages than the driver: the output could depend on who did the work."""
    packages = sorted({"longreel", *_requirements()})
    expected = dask_probe.versions(packages, _ROOTS)
    cloudpickle.register_pickle_by_value(dask_probe)
    try:
        found: Mapping[str, Mapping[str, str]] = client.run(dask_probe.versions, packages, _ROOTS)
    finally:
        cloudpickle.unregister_pickle_by_value(dask_probe)
    seed = next(iter(found.values()))["hash seed"]  # of the workers, which Dask sets to another one than the driver's
    for worker, versions in found.items():
        if versions["hash seed"] != seed:
            raise ConfigError(
                f"the Dask workers hash strings differently ({worker}); start all with the same PYTHONHASHSEED, or "
                "without --no-nanny"
            )
        differences = [
            f"{name} {versions[name] or 'is missing'} instead of {version or 'none'}"
            for name, version in expected.items()
            if name != "hash seed" and versions[name] != version
        ]
        if differences:
            raise ConfigError(
                f"the Dask worker {worker} has other packages than this process: {', '.join(differences)}; install the "
                "same versions there"
            )


def _requirements() -> list[str]:
    """Return the packages of the extra `pipeline`, and those of every installation."""
    lines = importlib.metadata.requires("longreel") or []
    wanted = (line for line in lines if "extra" not in line or re.search(r"extra == .pipeline.", line))
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted]


def _require_files(client: Any, log: JobLog, reads: Sequence[str]) -> None:
    """Raise ConfigError if a worker cannot reach the workspace or a path that it reads."""
    folder = log.folder / "probe"
    question, expected = folder / "question", uuid.uuid4().hex.encode()
    question.write(expected)
    try:
        found = client.run(dask_probe.answer, str(log.logs.parent), question, list(reads), uuid.uuid4().hex)
        answers = [place.read() for place in folder.list() if place != question]
    finally:
        folder.delete_folder()
    for worker, missing in found.items():
        if missing:
            raise ConfigError(
                f"the Dask worker {worker} cannot reach {', '.join(missing)}; use storage that all machines share: an "
                "object store (--out s3://… or gs://…), or a file system mounted at the same path"
            )
    if not answers or any(text != expected for text in answers):
        raise ConfigError(f"the Dask workers see another folder at {log.logs.parent}; use storage that machines share")
