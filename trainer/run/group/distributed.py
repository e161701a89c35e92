"""Joins the processes of a run: one per host, or several on one machine (`launcher.py`).

The first process listens at the coordinator's address; all connect to it, learn of all devices, and train as one. A
process that dies ends the others: they lose a connection, or the coordinator reports it after `_HEARTBEAT_S`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax

from schemas.errors import ConfigError, JobError
from trainer.run.group.environment import Place, place_of
from trainer.run.group.rendezvous import Group, meet
from trainer.run.native_output import NATIVE_OUTPUT, separate_native_output

COORDINATOR, PROCESSES, PROCESS_ID = "LONGREEL_COORDINATOR", "LONGREEL_PROCESSES", "LONGREEL_PROCESS_ID"

_HEARTBEAT_S = 30  # a process that is silent for so long is dead
_SHUTDOWN_S = 30  # how long a process that ends waits for the others


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """How the processes of a run find each other; see docs/training_runs.md."""

    distributed: bool = False
    """Train together with other processes, usually one per host. Each runs the same command. The next three options
    come from the environment of SLURM, MPI, Kubernetes or Cloud TPU as far as it has them."""
    coordinator: str | None = None
    """HOST:PORT at which the first process listens. Default: $LONGREEL_COORDINATOR, or that of the scheduler."""
    processes: int | None = None
    """Number of processes. Default: $LONGREEL_PROCESSES, or that of the scheduler."""
    process_id: int | None = None
    """Number of this process, from 0. Default: $LONGREEL_PROCESS_ID, or that of the scheduler."""
    connect_timeout_s: int = 300
    """Seconds to wait until all processes are there."""
    local_processes: int | None = None
    """Start so many processes on this machine and train with them. The option devices is the number of virtual CPU
    devices of each."""
    native_log: bool = False
    """Keep what native libraries (Gloo, XLA) print, in OUT/native-output/, a file for each process. Default: their
    output is dropped and their errors are shown, with --local-processes only those of a process that crashes."""

    def __post_init__(self) -> None:
        for name in ("processes", "connect_timeout_s", "local_processes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.process_id is not None and self.process_id < 0:
            raise ConfigError(f"process_id must not be negative, got {self.process_id}")
        given = (self.coordinator, self.processes, self.process_id)
        if not self.distributed and any(value is not None for value in given):
            raise ConfigError("coordinator, processes and process_id need --distributed")
        if self.distributed and self.local_processes is not None:
            raise ConfigError("choose either --distributed or --local-processes")


def group_of(config: Distributed, environment: Mapping[str, str]) -> Group | None:
    """Return the group that options, our variables or those of a scheduler name; None if JAX has to find it out.

    Raises ConfigError if only a part of it is named, or if it is inconsistent.
    """
    place = place_of(environment)
    processes, process_id = (
        _number(config.processes, environment, PROCESSES),
        _number(config.process_id, environment, PROCESS_ID),
    )
    found = {
        "--coordinator": config.coordinator or environment.get(COORDINATOR) or place.coordinator,
        "--processes": place.processes if processes is None else processes,
        "--process-id": place.process_id if process_id is None else process_id,
    }
    # A pod of GKE with TPUs has a number as well, but JAX finds the others.
    if all(value is None for value in found.values()) or found == _only(place):
        return None
    if missing := [name for name, value in found.items() if value is None]:
        raise ConfigError(f"{', '.join(missing)} must be given, too, for processes to find each other")
    return Group(*found.values())  # type: ignore[arg-type]


def _only(place: Place) -> dict[str, object]:
    return {"--coordinator": None, "--processes": None, "--process-id": place.process_id}


def _number(given: int | None, environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if given is not None or text is None:
        return given
    if not text.isdecimal():
        raise ConfigError(f"${name} must be a number, got {text!r}")
    return int(text)


def connect(config: Distributed, *, native_output: Path | None = None) -> None:
    """Join the other processes of a distributed run; call it before JAX computes anything.

    What native libraries print goes to the folder `native_output`, or to where the launcher reads it. Raises
    ConfigError if it is not known how to find the processes, JobError if they are not all there in time.
    """
    group = group_of(config, os.environ) if config.distributed or PROCESS_ID in os.environ else None
    if group is None and not config.distributed:
        return
    folder = os.environ.get(NATIVE_OUTPUT, native_output)
    separate_native_output(None if folder is None else Path(folder), errors=folder is not None)
    if group is not None:
        meet(group, timeout_s=config.connect_timeout_s)
    try:
        jax.distributed.initialize(
            coordinator_address=group.coordinator if group else None,
            num_processes=group.processes if group else None,
            process_id=group.process_id if group else None,
            local_device_ids=place_of(os.environ).local_devices(os.environ) if group else None,
            initialization_timeout=config.connect_timeout_s,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            shutdown_timeout_seconds=_SHUTDOWN_S,
        )
    except ValueError as e:
        raise ConfigError(
            f"cannot find out the processes of this run ({e}): give --coordinator, --processes and --process-id"
        ) from e
    except RuntimeError as e:
        raise JobError(f"the processes of this run cannot be connected: {_first_line(e)}") from e


@contextmanager
def connection_errors(step: int) -> Iterator[None]:
    """Raise JobError if another process of the run is lost while the body computes."""
    try:
        yield
    except jax.errors.JaxRuntimeError as e:
        if jax.process_count() == 1:
            raise
        raise JobError(
            f"another process of this run was lost after step {step} ({_first_line(e)}). Start all processes again; "
            "they resume from the newest checkpoint"
        ) from e


def _first_line(e: BaseException) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0][:200]
