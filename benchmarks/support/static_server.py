"""A static HTTP server for benchmarks of reading from buckets: nginx, or Python's where nginx is not installed."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ root {root}; }} }}
}}
"""


class StaticServer(NamedTuple):
    """A server of the files of a folder; a folder there is a bucket."""

    name: str
    endpoint: str


@contextmanager
def static_server(root: Path, scratch: Path) -> Iterator[StaticServer]:
    """Serve the files below `root`; `scratch` is a folder for the server's own files."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    with _nginx(nginx, root, scratch) if nginx else _python(root) as server:
        yield server


@contextmanager
def _nginx(program: str, root: Path, scratch: Path) -> Iterator[StaticServer]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    configuration = scratch / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=scratch, root=root, port=port))
    os.chmod(root, 0o755)  # noqa: PTH101 - workers of nginx run as another user
    process = subprocess.Popen([program, "-p", scratch, "-c", configuration], stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not _answers(port):
            time.sleep(0.02)
        if process.poll() is not None:
            raise RuntimeError(f"nginx does not start: {(scratch / 'error.log').read_text()}")
        yield StaticServer("nginx", f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def _python(root: Path) -> Iterator[StaticServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"root": root}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        port = server.server_address[1]
        yield StaticServer("Python's static server, as nginx is not installed", f"http://127.0.0.1:{port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    root: Path
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer(is_head=True)

    def do_GET(self) -> None:
        self._answer(is_head=False)

    def _answer(self, *, is_head: bool) -> None:
        path = self.root / self.path.lstrip("/")
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = path.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(found[1]) if found else 0
        last = min(int(found[2]) if found and found[2] else size - 1, size - 1)
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns:x}"')
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        if found:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if not is_head:
            with path.open("rb") as file:
                file.seek(first)
                self.wfile.write(file.read(last - first + 1))

    def log_message(self, format: str, *args: object) -> None:
        pass
