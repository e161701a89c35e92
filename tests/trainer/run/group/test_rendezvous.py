from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from schemas.errors import ConfigError, JobError, LongreelError
from trainer.run.group.launcher import free_port
from trainer.run.group.rendezvous import Group, meet


def _groups(count: int) -> list[Group]:
    coordinator = f"127.0.0.1:{free_port()}"
    return [Group(coordinator, count, i) for i in range(count)]


def _meet(groups: list[Group], *, timeout_s: float = 20, late: Callable[[], None] = lambda: None) -> list[str]:
    """Return what each process is told, "" if it goes on; the first one is started last."""
    with ThreadPoolExecutor() as pool:
        waiting: list[Future[None]] = [pool.submit(meet, group, timeout_s=timeout_s) for group in groups[1:]]
        late()
        waiting.insert(0, pool.submit(meet, groups[0], timeout_s=timeout_s))
        errors = [future.exception() for future in waiting]
    assert all(error is None or isinstance(error, LongreelError) for error in errors), errors
    return ["" if error is None else str(error) for error in errors]


def test_processes_go_on_when_all_are_there_and_leave_the_port() -> None:
    groups = _groups(4)
    assert _meet(groups, late=lambda: time.sleep(0.5)) == [""] * 4
    with socket.create_server(("127.0.0.1", groups[0].address[1])):
        pass


def test_processes_that_do_not_come_are_named_to_all_others() -> None:
    said = _meet(_groups(4)[:2], timeout_s=1.0)
    assert said[0].startswith("processes 2, 3 of 4 did not come to 127.0.0.1")
    assert said[1].startswith("processes 2, 3 of 4 did not come")


def test_a_first_process_that_does_not_come_is_an_error() -> None:
    started = time.monotonic()
    with pytest.raises(JobError, match=r"the first process of this run did not answer at 127.0.0.1:\d+ within 1 s"):
        meet(_groups(2)[1], timeout_s=1.0)
    assert time.monotonic() - started < 10


def test_processes_that_disagree_about_their_number_are_an_error_in_both() -> None:
    first = _groups(2)[0]
    told = _meet([first, Group(first.coordinator, 3, 1)])
    assert all("process 1 of 3 does not fit to process 0 of 2" in text for text in told)


def test_two_processes_of_one_number_are_an_error() -> None:
    groups = _groups(3)
    told = _meet([groups[0], groups[1], groups[1]], timeout_s=5)
    assert "there are two of that number" in told[0]


def test_other_programs_that_connect_are_ignored() -> None:
    groups = _groups(2)

    def disturb() -> None:
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000, b"longreel x y\n"):
            with socket.create_connection(groups[0].address, timeout=5) as s:
                s.sendall(data)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(meet, groups[0], timeout_s=20)
        time.sleep(0.3)
        disturb()
        second = pool.submit(meet, groups[1], timeout_s=20)
        assert (first.result(), second.result()) == (None, None)


def test_a_port_in_use_is_an_error() -> None:
    group = _groups(2)[0]
    with socket.create_server(("", group.address[1])), pytest.raises(ConfigError, match="choose another port"):
        meet(group, timeout_s=1)


@pytest.mark.parametrize("coordinator", ["", "host", "host:", ":80", "host:http", "host:0", "host:70000"])
def test_a_coordinator_without_host_and_port_is_rejected(coordinator: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Group(coordinator, 2, 0)
