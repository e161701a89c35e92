"""A meeting of the processes of a run before JAX connects them: JAX would end a process that waits in vain, untold why.

The first process listens at the coordinator's port until all others have named themselves, then tells all to go on, and
leaves the port to JAX.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import ConfigError, JobError
from schemas.printable import printable

_RETRY_S = 0.2
_LONGEST_LINE = 200  # bytes
_GO = "go"
_GREETING = "longreel"


@dataclass(frozen=True)
class Group:
    """The processes of a run and the place of this one in it."""

    coordinator: str  # HOST:PORT of the first process
    processes: int
    process_id: int

    def __post_init__(self) -> None:
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ConfigError(f"coordinator must be HOST:PORT, got {self.coordinator!r}")
        if self.process_id >= self.processes:
            raise ConfigError(f"process_id must be less than processes ({self.processes}), got {self.process_id}")

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of the first process."""
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def meet(group: Group, *, timeout_s: float) -> None:
    """Wait until all processes of `group` are there.

    Raises JobError, which names the missing ones, after `timeout_s`; and ConfigError if they do not agree about their
    number or have the same one.
    """
    deadline = time.monotonic() + timeout_s
    if group.process_id == 0:
        _gather(group, deadline, timeout_s)
    else:
        _report(group, deadline, timeout_s)


def _gather(group: Group, deadline: float, timeout_s: float) -> None:
    there: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack, _listen(group) as server:
        try:
            while len(there) < group.processes - 1:
                server.settimeout(max(deadline - time.monotonic(), 0.001))
                connection = stack.enter_context(server.accept()[0])
                _greet(group, connection, there)
        except TimeoutError:
            missing = _missing(group, there, timeout_s)
            _tell(there, str(missing))
            raise missing from None
        except ConfigError as e:
            _tell(there, str(e))
            raise
        _tell(there, _GO)


def _listen(group: Group) -> socket.socket:
    port = group.address[1]
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as e:
        raise ConfigError(f"cannot listen at the coordinator's port {port} ({e.strerror}): choose another port") from e


def _greet(group: Group, connection: socket.socket, there: dict[int, socket.socket]) -> None:
    """Add the process at the other end to `there`; other programs that connect are ignored."""
    connection.settimeout(5)
    try:
        greeting, processes, number = _line(connection).split()
        i, their_count = int(number), int(processes)
    except (OSError, ValueError):
        return
    if greeting != _GREETING:
        return
    if their_count != group.processes or i in there or not 0 < i < group.processes:
        there[-1] = connection
        raise ConfigError(
            f"process {i} of {their_count} does not fit to process 0 of {group.processes}"
            + ("" if i not in there else ": there are two of that number")
            + "; start all with the same --processes and each with another --process-id"
        )
    there[i] = connection


def _missing(group: Group, there: Mapping[int, socket.socket], timeout_s: float) -> JobError:
    numbers = [str(i) for i in range(1, group.processes) if i not in there]
    which = f"process {numbers[0]}" if len(numbers) == 1 else "processes " + ", ".join(numbers)
    return JobError(
        f"{which} of {group.processes} did not come to {group.coordinator} within {timeout_s:.0f} s: look for a host "
        "whose process did not start or that cannot reach this address, or raise --connect-timeout-s"
    )


def _report(group: Group, deadline: float, timeout_s: float) -> None:
    while True:
        try:
            with socket.create_connection(group.address, timeout=max(deadline - time.monotonic(), 0.001)) as connection:
                connection.sendall(f"{_GREETING} {group.processes} {group.process_id}\n".encode())
                connection.settimeout(max(deadline - time.monotonic(), 0.001) + 5)  # the first one tells who is missing
                answer = _line(connection)
        except OSError as e:
            if time.monotonic() >= deadline:
                raise JobError(
                    f"the first process of this run did not answer at {group.coordinator} within {timeout_s:.0f} s "
                    f"({e}): look whether it runs there, or raise --connect-timeout-s"
                ) from e
            time.sleep(_RETRY_S)
            continue
        if answer == _GO:
            return
        if answer:
            raise JobError(printable(answer))
        time.sleep(_RETRY_S)  # it ended; another one may start


def _line(connection: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST_LINE:
        block = connection.recv(_LONGEST_LINE)
        if not block:
            break
        data += block
    return data.decode(errors="replace").strip()


def _tell(there: Mapping[int, socket.socket], text: str) -> None:
    for connection in there.values():
        with contextlib.suppress(OSError):
            connection.sendall(f"{text[: _LONGEST_LINE - 1]}\n".encode())
