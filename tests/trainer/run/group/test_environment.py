"""The variables that schedulers set, as their documentation names them, say where a process belongs."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.support.training.runs import run_environment
from trainer.run.group.environment import Place, place_of

_FIRST_PORT = 61_440


def _slurm(i: int, job: int, *, tasks: int = 2, nodes: str = "localhost") -> dict[str, str]:
    """https://slurm.schedmd.com/srun.html, output environment variables"""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_NTASKS": str(tasks),
        "SLURM_PROCID": str(i),
        "SLURM_LOCALID": str(i % 2),
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)" if tasks == 4 else "1,1",
    }


_OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_RANK": "5"}
_LOCAL = {"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
_URI = "1531576320.0;tcp://10.96.0.1,10.148.0.1,10.108.0.1:34911"
_URI_6 = "1314521088.0;tcp6://[fe80::b9b:ac5d,2620:10d:c083:150e::3000:2]:43370"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Place()),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, Place()),  # a batch, outside of srun
        (
            _slurm(3, 4097, tasks=4, nodes="gpu[001-002],login"),
            Place(coordinator="gpu001:61441", processes=4, process_id=3, local_id=1, local_processes=2),
        ),
        (
            _slurm(0, 5, nodes="a7,b"),
            Place(coordinator="a7:61445", processes=2, process_id=0, local_id=0, local_processes=1),
        ),
        (
            {**_OPEN_MPI, **_LOCAL, "OMPI_MCA_orte_hnp_uri": _URI},
            Place(coordinator="10.96.0.1:62624", processes=8, process_id=5, local_id=1, local_processes=4),
        ),
        ({**_OPEN_MPI, **_LOCAL}, Place(processes=8, process_id=5, local_id=1, local_processes=4)),  # version 5
        ({"PMI_RANK": "2", "PMI_SIZE": "4"}, Place(processes=4, process_id=2)),
        (
            {"PMI_RANK": "2", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"},
            Place(processes=4, process_id=2, local_id=0, local_processes=2),
        ),
        ({"JOB_COMPLETION_INDEX": "3"}, Place(process_id=3)),
    ],
)
def test_schedulers_say_where_a_process_belongs(variables: dict[str, str], expected: Place) -> None:
    assert place_of(variables) == expected


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node001", "node001"), ("node001,host2", "node001"), ("node[001-0015],host2", "node001"), ("n-1[7,9]", "n-17")],
)
def test_the_first_host_of_a_list_of_slurm_is_the_coordinator(nodes: str, first: str) -> None:
    assert place_of(_slurm(0, 0, nodes=nodes)).coordinator == f"{first}:{_FIRST_PORT}"


def test_an_address_of_ipv6_is_read() -> None:
    coordinator = place_of({**_OPEN_MPI, "OMPI_MCA_orte_hnp_uri": _URI_6}).coordinator
    assert coordinator is not None
    assert coordinator.startswith("[fe80::b9b:ac5d]:")


def test_a_process_uses_one_gpu_where_several_share_a_host_that_the_scheduler_has_not_divided() -> None:
    shared = Place(local_id=3, local_processes=8)
    assert shared.local_devices({}) == [3]
    assert shared.local_devices({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}) == [3]
    assert shared.local_devices({"CUDA_VISIBLE_DEVICES": "5"}) is None
    assert Place(local_id=0, local_processes=1).local_devices({}) is None
    assert Place().local_devices({}) is None


_CONNECT = """
import jax
from schemas.errors import JobError
from trainer.run.group.distributed import Distributed, connect
jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_platforms", "cpu")
try:
    connect(Distributed(distributed=True, connect_timeout_s=120 if {whole} else 1))
    print(jax.process_index(), jax.process_count(), jax.device_count(), flush=True)
except JobError as e:
    print(e)
"""


@pytest.mark.slow
def test_two_processes_of_slurm_find_each_other() -> None:
    job = _free_job()
    processes = [_start(_slurm(i, job)) for i in range(2)]
    try:
        said = [process.communicate(timeout=200)[0].splitlines()[-1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert said == ["0 2 2", "1 2 2"]


@pytest.mark.slow
def test_a_task_of_slurm_whose_peer_does_not_come_says_so() -> None:
    with _start(_slurm(0, _free_job()), whole=False) as process:
        said = process.communicate(timeout=200)[0]
    assert "process 1 of 2 did not come to localhost:" in said


def _free_job() -> int:
    """Return the number of a job whose port is free."""
    for job in range(os.getpid() % 1000, 4096):
        with contextlib.suppress(OSError), socket.create_server(("", _FIRST_PORT + job)):
            return job
    raise AssertionError("no port is free")


def _start(variables: Mapping[str, str], *, whole: bool = True) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CONNECT.format(whole=whole)]
    return subprocess.Popen(command, env=run_environment(**variables), stdout=subprocess.PIPE, text=True)
