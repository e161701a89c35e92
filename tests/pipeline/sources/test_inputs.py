"""Local, remote and tabular inputs as local files."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fsspec
import pytest

from pipeline.sources.inputs import _copy, local_file, stat
from schemas.errors import InputError, Reason, StorageError


def reason_of(uri: str, *, max_bytes: int = 100) -> Reason:
    with pytest.raises(InputError) as e, local_file(uri, max_bytes=max_bytes):
        pass
    return e.value.reason


def test_local_file_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with local_file(str(tmp_path / "a"), max_bytes=3) as path:
        assert path == tmp_path / "a"
    assert stat(str(tmp_path / "a")).size_bytes == 3


def test_remote_file_is_copied_and_the_copy_removed() -> None:
    with fsspec.open("memory://folder/a.txt", "wb") as f:
        f.write(b"remote")
    with local_file("memory://folder/a.txt", max_bytes=100) as path:
        assert path.read_bytes() == b"remote"
        assert path.suffix == ".txt"
    assert not path.exists()
    assert stat("memory://folder/a.txt").size_bytes == 6


def test_inputs_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert reason_of(str(tmp_path / "b")) is Reason.MISSING
    assert reason_of(str(tmp_path)) is Reason.UNREADABLE
    assert reason_of(str(tmp_path / "a"), max_bytes=2) is Reason.TOO_LARGE
    assert reason_of("memory://absent") is Reason.MISSING
    assert reason_of("nosuchprotocol://x/y") is Reason.UNREACHABLE


def test_changed_file_has_another_version(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    before = stat(str(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"abcd")
    assert stat(str(tmp_path / "a")) != before


def test_full_disk_is_a_storage_error() -> None:
    with fsspec.open("memory://folder/b.txt", "wb") as f:
        f.write(b"remote")
    with pytest.raises(StorageError, match="No space left"):
        _copy("memory://folder/b.txt", Path("/dev/full"), 100)


def test_every_scheme_that_fsspec_knows_gives_a_reason_in_time() -> None:
    """A subprocess with a time limit, as a scheme could also wait for ever or end the process."""
    run = subprocess.run([sys.executable, "-c", _ALL_SCHEMES], capture_output=True, text=True, timeout=120, check=False)
    reasons = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    expected = {uri.format(scheme) for scheme in fsspec.available_protocols() for uri in _SCHEME_URIS}
    assert reasons.keys() == expected, run.stderr
    assert set(reasons.values()) <= {"missing", "unreachable", "unreadable"}


_SCHEME_URIS = ("{}://x.invalid", "{}://", "{}://x::file:///not-a-zip")
_ALL_SCHEMES = f"""
import fsspec
from pipeline.sources.inputs import local_file
from schemas.errors import InputError
for scheme in fsspec.available_protocols():
    for uri in {_SCHEME_URIS}:
        try:
            with local_file(uri.format(scheme), max_bytes=1 << 20):
                print(uri.format(scheme), "opened", flush=True)
        except InputError as e:
            print(uri.format(scheme), e.reason, flush=True)
"""


class _CutShort(BaseHTTPRequestHandler):
    """Promises 100 bytes and closes the connection after 10."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"0123456789")

    def log_message(self, *_: object) -> None:
        pass


def test_an_http_body_that_is_cut_short_is_unreachable() -> None:
    server = HTTPServer(("127.0.0.1", 0), _CutShort)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert reason_of(f"http://127.0.0.1:{server.server_port}/a.txt", max_bytes=1000) is Reason.UNREACHABLE
    finally:
        server.shutdown()
        server.server_close()
