"""Hostile requests to a server in this process: each is refused with a reason, and the server stays up.

No file outside of the media folder is opened, and no connection is made, by any process. `make test` sends some of
the requests, `make faults` all.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from pipeline.serving.config import Access, Limits
from pipeline.serving.connections import LimitedProtocol
from tests.faults.outcomes import Outcomes
from tests.support.hostile_requests import Hostile, canary, chat, hostile_requests, watched, write_root
from tests.support.serving import ROWS, RunningServer, Tiny, running_server, tiny_model

pytestmark = pytest.mark.slow

_SOME = 23  # every one of so many, in `make test`
_QUEUE = 4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "root")


@pytest.fixture
def server(tiny: Tiny, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(LimitedProtocol, "idle_s", 2.0)
    limits = Limits(max_body_mb=2, body_timeout_s=2, timeout_s=60, queue=_QUEUE)
    with running_server(tiny, Access(media_root=root), limits) as server:
        yield server


def test_some_hostile_requests_are_refused_with_a_reason(
    server: RunningServer, root: Path, results: list[Outcomes]
) -> None:
    _campaign(server, root, results, step=_SOME)


@pytest.mark.faults
def test_all_hostile_requests_are_refused_with_a_reason(
    server: RunningServer, root: Path, results: list[Outcomes]
) -> None:
    assert _campaign(server, root, results, step=1) >= 200


def test_clients_that_leave_or_crowd_do_not_stop_the_server(server: RunningServer) -> None:
    _crowd(server, clients=12)


@pytest.mark.faults
def test_fifty_clients_at_a_time_and_a_hundred_that_leave_do_not_stop_the_server(server: RunningServer) -> None:
    for size in range(100):
        _leave(server, after=size * 3)
    server.wait_until_idle()
    _crowd(server, clients=50)


def _campaign(server: RunningServer, root: Path, results: list[Outcomes], *, step: int) -> int:
    outcomes = Outcomes("requests")
    with canary() as (port, connections), watched(root.parent / "outside") as opened:
        for hostile in hostile_requests(root, port=port)[::step]:
            problem = _problem(server, hostile)
            outcomes.named += problem is None
            outcomes.wrong += [] if problem is None else [f"{hostile.name}: {problem}"]
        assert connections == []
    assert opened == []
    results.append(outcomes)
    assert outcomes.wrong == []
    server.wait_until_idle()
    assert server.chat().status_code == 200
    return outcomes.tried


def _problem(server: RunningServer, hostile: Hostile) -> str | None:
    """Send a request; return what is wrong with the reply."""
    if hostile.raw is not None:
        found = _exchange(server, hostile.raw)
        return None if found == b"" or found.startswith(b"HTTP/1.1 4") else repr(found[:200])
    try:
        reply = server.post(hostile.path, hostile.body, timeout=60)
    except httpx.WriteError:
        return None  # the connection is closed while too much is sent
    if not 400 <= reply.status_code < 500:
        return f"status {reply.status_code}: {reply.text[:200]}"
    error = json.loads(reply.text)["error"]
    return None if error["message"] and len(reply.content) < 3000 else reply.text[:200]


def _exchange(server: RunningServer, sent: bytes) -> bytes:
    """Send bytes and return what comes until the connection is closed."""
    found = b""
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(sent)
            while block := connection.recv(1 << 16):
                found += block
    except OSError:  # closed while we send
        pass
    return found


def _leave(server: RunningServer, *, after: int) -> None:
    """Begin a request and leave after some bytes of it, or, if it is shorter, at once after its last."""
    body = chat(max_tokens=200, stream=after % 2 == 0)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    request = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request[:after] if after < len(request) else request)


def _crowd(server: RunningServer, *, clients: int) -> None:
    """Ask from many clients at a time, of which some leave and some do not read."""

    def ask(number: int) -> int:
        if number % 4 == 0:
            _leave(server, after=10**6)
            return 0
        return server.chat(max_tokens=8 + number, seed=number).status_code

    with ThreadPoolExecutor(clients) as pool:
        statuses = list(pool.map(ask, range(clients)))
    assert set(statuses) <= {0, 200, 429}
    assert statuses.count(200) >= ROWS
    server.wait_until_idle()
    started = time.monotonic()
    assert httpx.get(f"{server.address}/health").json() == {"status": "ok"}
    assert server.chat().status_code == 200
    assert time.monotonic() - started < 30
