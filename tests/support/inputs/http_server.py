"""A real HTTP server in a thread whose answers a test chooses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ALLOWED = "127.0.0.1"


@dataclass(kw_only=True)
class Answer:
    """What the server answers to GET and HEAD requests of one path."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # bytes after which the connection is closed
    fails: int = 0  # requests that get `failure` first
    failure: Answer | None = None
    delay_s: float = 0.0  # before each kilobyte of the body
    header_delay_s: float = 0.0  # before each of 20 headers that mean nothing


@dataclass
class Server:
    """Answers by path, and the requests that came."""

    url: str
    answers: dict[str, Answer]
    requests: list[str] = field(default_factory=list)

    def answer(self, path: str) -> Answer:
        found = self.answers.get(path, Answer(status=404))
        if found.fails and found.failure:
            found.fails -= 1
            return found.failure
        return found


@contextmanager
def serving(answers: dict[str, Answer] | None = None) -> Iterator[Server]:
    """Serve on a free port of the loopback interface while the body runs."""

    class Handler(BaseHTTPRequestHandler):
        def _send(self, *, with_body: bool) -> None:
            server.requests.append(f"{self.command} {self.path}")
            answer = server.answer(self.path)
            self.send_response(answer.status)
            for number in range(20 if answer.header_delay_s else 0):
                self.send_header(f"X-{number}", "slow")
                self.flush_headers()
                time.sleep(answer.header_delay_s)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                for start in range(0, len(answer.body[: answer.cut]), 1024):
                    time.sleep(answer.delay_s)
                    self.wfile.write(answer.body[start : min(start + 1024, answer.cut or len(answer.body))])
            self.close_connection = True

        def do_GET(self) -> None:
            self._send(with_body=True)

        def do_HEAD(self) -> None:
            self._send(with_body=False)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is what some tests want."""

    with Quiet((ALLOWED, 0), Handler) as httpd:
        server = Server(f"http://{ALLOWED}:{httpd.server_address[1]}", answers or {})
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()
