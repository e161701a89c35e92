"""Connections without a request are closed; a request that runs is not disturbed."""

from __future__ import annotations

import socket
import time

import pytest

from pipeline.serving.connections import LimitedProtocol
from tests.support.serving import RunningServer, Tiny, running_server


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET"],
    ids=["nothing", "part of a head", "a request and part of another"],
)
def test_a_connection_without_a_request_is_closed(tiny: Tiny, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedProtocol, "idle_s", 0.3)
    with running_server(tiny) as server, socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        try:
            while connection.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        assert time.monotonic() - started < 4


def test_a_request_that_takes_longer_is_answered(
    tiny: Tiny, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LimitedProtocol, "idle_s", 0.05)
    step = tiny.engine.step

    def slow_step() -> object:
        time.sleep(0.1)
        return step()

    monkeypatch.setattr(tiny.engine, "step", slow_step)
    assert server.chat(max_tokens=16).status_code == 200
