"""A proxy in front of an HTTP server that fails at random, as object stores under load do.

    with faulty_proxy(server.endpoint, rate=0.01) as proxy:
        ...                 # proxy.endpoint
        assert proxy.failed

A failed request gets the answer 503 SlowDown or 429, a connection that is reset before the request was forwarded or
after the server has executed it (its answer is lost), or half of the body.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_HOP_BY_HOP = {"connection", "host", "transfer-encoding", "content-length", "keep-alive"}
_FAULTS = ("slow down", "too many requests", "reset", "answer lost", "half a body")


Answer = tuple[int, dict[str, str], bytes]
Lie = Callable[[str, Answer], Answer]


class FaultyProxy:
    """Decides which requests fail.

    `status` is the answer to all of them, if it is set; `next_faults` are those of the next requests; `alter` replaces
    bytes in what is written; `lie` changes answers: it gets the path of a request and the status, headers and body.
    """

    def __init__(self, upstream: str, *, rate: float, seed: int = 0) -> None:
        self.upstream = upstream.removeprefix("http://")
        self.rate, self.status = rate, 0
        self.requests = self.failed = 0
        self.next_faults: list[str] = []
        self.alter = (b"", b"")
        self.lie: Lie | None = None
        self.endpoint = ""
        self._random, self._lock = random.Random(seed), threading.Lock()

    def fault(self) -> str | None:
        """Return the fault of the next request, None if it succeeds."""
        with self._lock:
            self.requests += 1
            if self.status:
                return "status"
            if not self.next_faults and self._random.random() >= self.rate:
                return None
            self.failed += 1
            return self.next_faults.pop(0) if self.next_faults else self._random.choice(_FAULTS)


@contextmanager
def faulty_proxy(upstream: str, *, rate: float, seed: int = 0) -> Iterator[FaultyProxy]:
    """Run a proxy in front of `upstream`; `rate` of the requests fail."""
    proxy = FaultyProxy(upstream, rate=rate, seed=seed)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: ClassVar[FaultyProxy]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError):  # the client is gone, or was reset
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match self.proxy.fault():
            case "status":
                self._send(self.proxy.status, {}, b"")
            case "slow down":
                self._send(503, {"Content-Type": "application/xml"}, _SLOW_DOWN)
            case "too many requests":
                self._send(429, {}, b"")
            case "reset":
                self._reset()
            case "answer lost":
                self._forwarded(body)
                self._reset()
            case "half a body":
                status, headers, data = self._forwarded(body)
                self._send(status, headers, data, sent=len(data) // 2)
                self._reset()
            case None:
                answer = self._forwarded(body)
                self._send(*(answer if self.proxy.lie is None else self.proxy.lie(self.path, answer)))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _handle

    def _forwarded(self, body: bytes) -> Answer:
        if self.proxy.alter[0]:
            body = body.replace(*self.proxy.alter)
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            headers["Host"] = self.proxy.upstream
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            data = response.read()
            return response.status, dict(response.getheaders()), data
        finally:
            connection.close()

    def _send(self, status: int, headers: dict[str, str], data: bytes, *, sent: int | None = None) -> None:
        length = next((value for name, value in headers.items() if name.lower() == "content-length"), str(len(data)))
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])

    def _reset(self) -> None:
        """Close the connection with RST."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.close_connection = True
        self.connection.close()
