"""What schedulers say about a process in its environment variables: SLURM, MPI and indexed jobs of Kubernetes.

JAX reads some of these variables, too, but ends a process that waits in vain with a stack trace and without the name of
the missing one; and under SLURM and MPI it uses one device per process even where a process has a host for itself.
Cloud TPU and GKE are left to JAX, which asks their servers.

Sources: https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES,
https://docs.open-mpi.org/en/v5.0.x/tuning-apps/environment-var.html,
https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FIRST_PORT, _PORTS = 61_440, 4_096  # of a coordinator whose port nobody names: one of these, by the number of the job


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of this process among those of a run; None for what the environment does not say."""

    coordinator: str | None = None  # HOST:PORT of the first process
    processes: int | None = None
    process_id: int | None = None
    local_id: int | None = None  # among the processes of this host
    local_processes: int | None = None  # number of processes on this host

    def local_devices(self, environment: Mapping[str, str]) -> list[int] | None:
        """Return which GPUs of the host this process uses: one, if it shares the host; None means all it can see.

        A scheduler may have chosen the GPU already, with CUDA_VISIBLE_DEVICES.
        """
        is_chosen = "," not in environment.get("CUDA_VISIBLE_DEVICES", ",")
        if self.local_id is None or (self.local_processes or 1) == 1 or is_chosen:
            return None
        return [self.local_id]


def place_of(environment: Mapping[str, str]) -> Place:
    """Return what the first scheduler says whose variables are there."""
    for found in (_slurm(environment), _open_mpi(environment), _hydra(environment), _kubernetes(environment)):
        if found is not None:
            return found
    return Place()


def _slurm(environment: Mapping[str, str]) -> Place | None:
    """Return the place of a task that `srun` started; in the script of a batch there is no step."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if not all(name in environment for name in names):
        return None
    job, nodes, tasks, number, local = (environment[name] for name in names)
    per_node = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE") or tasks
    return Place(
        coordinator=f"{_first_host(nodes)}:{_FIRST_PORT + int(job) % _PORTS}",
        processes=int(environment.get("SLURM_STEP_NUM_TASKS", tasks)),
        process_id=int(number),
        local_id=int(local),
        local_processes=max(map(int, re.findall(r"(\d+)(?:\(x\d+\))?(?:,|$)", per_node)), default=1),
    )


def _first_host(nodes: str) -> str:
    """Return the first host of "node[001-003,7],login", for example."""
    found = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    return nodes if found is None else found[1] + (found[2] or "")


def _open_mpi(environment: Mapping[str, str]) -> Place | None:
    """Open MPI 4 and 5; only 4 says where its `mpirun` runs, as "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"."""
    if "OMPI_COMM_WORLD_RANK" not in environment:
        return None
    address = r"(\d+)\..*?;(?:tcp://([^,:]+)|tcp6://(\[[^,\]]+))"
    found = re.match(address, environment.get("OMPI_MCA_orte_hnp_uri", ""))
    host = found and (found[2] or f"{found[3]}]")
    return Place(
        coordinator=found and f"{host}:{_FIRST_PORT + int(found[1]) // 4096 % _PORTS}",
        processes=_number(environment, "OMPI_COMM_WORLD_SIZE"),
        process_id=_number(environment, "OMPI_COMM_WORLD_RANK"),
        local_id=_number(environment, "OMPI_COMM_WORLD_LOCAL_RANK"),
        local_processes=_number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE"),
    )


def _hydra(environment: Mapping[str, str]) -> Place | None:
    """Hydra, the `mpirun` of MPICH and Intel MPI."""
    if "PMI_RANK" not in environment:
        return None
    return Place(
        processes=_number(environment, "PMI_SIZE"),
        process_id=_number(environment, "PMI_RANK"),
        local_id=_number(environment, "MPI_LOCALRANKID"),
        local_processes=_number(environment, "MPI_LOCALNRANKS"),
    )


def _kubernetes(environment: Mapping[str, str]) -> Place | None:
    number = _number(environment, "JOB_COMPLETION_INDEX")
    return None if number is None else Place(process_id=number)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None
