"""Bodies that are too large, too slow or not JSON, and requests without access."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from pipeline.serving.config import Limits
from tests.support.serving import JSON, RunningServer, Tiny, running_server

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(tiny: Tiny) -> Iterator[RunningServer]:
    with running_server(tiny, limits=Limits(max_body_mb=0.1, body_timeout_s=0.3)) as server:
        yield server


def reply_to(server: RunningServer, *blocks: bytes, endless: bytes = b"") -> str:
    """Send blocks, then `endless` until the server closes the connection; return what it sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        try:
            for block in blocks:
                connection.sendall(block)
            end = time.monotonic() + 5
            while endless and time.monotonic() < end:
                connection.sendall(endless)
        except OSError:
            pass
        found = b""
        try:
            while block := connection.recv(1 << 16):
                found += block
        except OSError:
            pass
        return found.decode()


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_read(server: RunningServer) -> None:
    found = reply_to(server, HEAD + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 1000)
    assert found.startswith("HTTP/1.1 413")
    assert "more than 100,000 bytes" in found


@pytest.mark.slow
def test_a_body_in_chunks_without_end_is_refused(server: RunningServer) -> None:
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    found = reply_to(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", endless=chunk)
    assert found.startswith("HTTP/1.1 413") or found == ""  # the connection is reset while the client sends


def test_a_body_that_does_not_arrive_is_refused(server: RunningServer) -> None:
    found = reply_to(server, HEAD + b"Content-Length: 100\r\n\r\n{")
    assert found.startswith("HTTP/1.1 408")
    assert "did not arrive within 0.3 s" in found


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({}, 415),
        (JSON | {"Content-Encoding": "gzip"}, 415),
        (JSON | {"Host": "127.0.0.1.evil.example"}, 403),
        (JSON | {"Host": ""}, 403),
        (JSON | {"Host": "[::1]:8000"}, 400),
        (JSON | {"Content-Type": "application/json; charset=utf-8"}, 400),
    ],
)
def test_requests_of_other_pages_and_types_are_refused(
    server: RunningServer, headers: dict[str, str], status: int
) -> None:
    assert server.post("/v1/completions", b"{}", headers=headers).status_code == status
