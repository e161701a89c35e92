"""Processes find each other from the variables that a scheduler sets, as its documentation names them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

from tests.support.training.runs import run_environment
from trainer.run.distributed import COORDINATOR, PROCESS_ID, PROCESSES

pytestmark = pytest.mark.slow

_CONNECT = """
import jax
from trainer.run.distributed import Distributed, connect
jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_platforms", "cpu")
connect(Distributed(distributed=True, connect_timeout_s=120))
print(jax.process_index(), jax.process_count(), jax.device_count(), flush=True)
"""
_FIRST_PORT = 65_535 - 4_096 + 1  # of those that JAX takes, by the number of a job


def _slurm(i: int, job: int) -> dict[str, str]:
    """https://slurm.schedmd.com/srun.html, output environment variables"""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(i),
        "SLURM_LOCALID": str(i),
    }


def _open_mpi_4(i: int, job: int) -> dict[str, str]:
    """https://www.open-mpi.org/faq/?category=running#mpi-environmental-variables"""
    return {
        "OMPI_MCA_orte_hnp_uri": f"{job * 4096}.0;tcp://127.0.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(i),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(i),
    }


def _kubernetes(i: int, job: int) -> dict[str, str]:
    """An indexed job: https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode"""
    return {COORDINATOR: f"localhost:{_FIRST_PORT + job}", PROCESSES: "2", PROCESS_ID: str(i)}


@pytest.mark.parametrize("scheduler", [_slurm, _open_mpi_4, _kubernetes])
def test_two_processes_find_each_other(scheduler: Callable[[int, int], dict[str, str]]) -> None:
    job = _free_job()
    processes = [_start(scheduler(i, job)) for i in range(2)]
    try:
        said = [process.communicate(timeout=200)[0].splitlines()[-1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert said == ["0 2 2", "1 2 2"]


def _free_job() -> int:
    """Return the number of a job whose port is free."""
    for job in range(os.getpid() % 1000, 4096):
        with contextlib.suppress(OSError), socket.create_server(("", _FIRST_PORT + job)):
            return job
    raise AssertionError("no port is free")


def _start(variables: Mapping[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CONNECT]
    return subprocess.Popen(command, env=run_environment(**variables), stdout=subprocess.PIPE, text=True)
