"""Remote inputs on a real HTTP server: status codes, redirects, cut and slow bodies, other failures."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import fsspec
import pytest

from pipeline.sources.access import AccessConfig
from pipeline.sources.remote import copy_remote, open_remote, remote_stat
from schemas.deadline import time_limit
from schemas.errors import InputError, Reason, StorageError
from tests.support.inputs.http_server import ALLOWED, Answer, Server, serving

pytestmark = pytest.mark.slow

OPEN = AccessConfig(allow_hosts=(ALLOWED, "localhost"), fetch_max_wait_s=4)
ONCE = AccessConfig(allow_hosts=(ALLOWED,), fetch_attempts=1, fetch_timeout_s=0.3)
BODY = b"It was a bright cold day in April. " * 100


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def copied(uri: str, access: AccessConfig = OPEN, *, max_bytes: int = 1 << 20) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        copy_remote(uri, access, Path(folder, "copy"), max_bytes=max_bytes)
        return Path(folder, "copy").read_bytes()


def refused(uri: str, access: AccessConfig = ONCE, *, max_bytes: int = 1 << 20) -> tuple[Reason, str]:
    with pytest.raises(InputError) as e:
        copied(uri, access, max_bytes=max_bytes)
    return e.value.reason, str(e.value)


def test_a_file_is_copied_with_its_size_and_version(server: Server) -> None:
    server.answers["/a.txt"] = Answer(body=BODY, headers={"ETag": '"one"'})
    assert copied(f"{server.url}/a.txt") == BODY
    assert remote_stat(f"{server.url}/a.txt", OPEN) == (len(BODY), '"one"')
    assert refused(f"{server.url}/a.txt", max_bytes=10)[0] is Reason.TOO_LARGE


@pytest.mark.parametrize("status", [404, 410])
def test_only_404_and_410_are_missing(server: Server, status: int) -> None:
    server.answers["/a.txt"] = Answer(status=status)
    reason, message = refused(f"{server.url}/a.txt", OPEN)
    assert reason is Reason.MISSING
    assert f"HTTP {status}" in message
    assert len(server.requests) == 2  # HEAD and GET, once


@pytest.mark.parametrize("status", [400, 401, 403, 408, 418, 429, 451, 500, 502, 503, 504])
def test_other_errors_of_a_server_are_unreachable(server: Server, status: int) -> None:
    server.answers["/a.txt"] = Answer(status=status)
    reason, message = refused(f"{server.url}/a.txt")
    assert reason is Reason.UNREACHABLE
    assert f"HTTP {status}" in message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails_for_a_while_is_tried_again(server: Server, status: int) -> None:
    failure = Answer(status=status, headers={"Retry-After": "0"})
    server.answers["/a.txt"] = Answer(body=BODY, fails=3, failure=failure)
    assert copied(f"{server.url}/a.txt") == BODY


def test_403_is_not_tried_again(server: Server) -> None:
    server.answers["/a.txt"] = Answer(status=403)
    assert "attempts" not in refused(f"{server.url}/a.txt", OPEN)[1]


def test_retry_after_is_honored_as_seconds_and_as_a_date(server: Server) -> None:
    for is_date in (False, True):
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        failure = Answer(status=503, headers={"Retry-After": later if is_date else "1"})
        server.answers["/a.txt"] = Answer(body=BODY, fails=2, failure=failure)  # of HEAD and of GET
        started = time.monotonic()
        assert copied(f"{server.url}/a.txt") == BODY
        assert time.monotonic() - started > 0.8


def test_a_longer_retry_after_ends_the_attempts(server: Server) -> None:
    server.answers["/a.txt"] = Answer(status=429, headers={"Retry-After": "3600"})
    started = time.monotonic()
    assert refused(f"{server.url}/a.txt", OPEN)[0] is Reason.UNREACHABLE
    assert time.monotonic() - started < 3


def test_a_body_that_is_cut_short_is_fetched_again_and_never_taken_for_the_whole(server: Server) -> None:
    server.answers["/a.txt"] = Answer(body=BODY, cut=100)
    reason, message = refused(f"{server.url}/a.txt")
    assert reason is Reason.UNREACHABLE
    assert copied_after_a_cut(server) == BODY
    assert message.startswith(f"{server.url}/a.txt: ")


def copied_after_a_cut(server: Server) -> bytes:
    # The first request is HEAD, the second GET; the third and fourth are those of the next attempt.
    server.answers["/b.txt"] = Answer(body=BODY, fails=2, failure=Answer(body=BODY, cut=100))
    return copied(f"{server.url}/b.txt")


def test_headers_that_arrive_one_by_one_for_ever_are_given_up(server: Server) -> None:
    server.answers["/a.txt"] = Answer(body=BODY, header_delay_s=0.1)
    started = time.monotonic()
    reason, message = refused(f"{server.url}/a.txt")
    assert reason is Reason.UNREACHABLE
    assert "the headers of the response are not complete after 0.3 s" in message
    assert time.monotonic() - started < 1.8


def test_a_slow_body_is_read_and_one_that_stalls_is_given_up(server: Server) -> None:
    server.answers["/slow.txt"] = Answer(body=BODY, delay_s=0.1)
    assert copied(f"{server.url}/slow.txt", ONCE) == BODY
    server.answers["/stalls.txt"] = Answer(body=BODY, delay_s=1.0)
    started = time.monotonic()
    assert refused(f"{server.url}/stalls.txt")[0] is Reason.UNREACHABLE
    assert time.monotonic() - started < 5


def test_a_host_that_does_not_answer_is_not_asked_again_for_a_minute() -> None:
    with socket.socket() as taken:
        taken.bind((ALLOWED, 0))  # bound, and not listening
        url = f"http://{ALLOWED}:{taken.getsockname()[1]}"
        reason, message = refused(f"{url}/a.txt")
        assert (reason, "no answer" in message) == (Reason.UNREACHABLE, True)
        reason, message = refused(f"{url}/b.txt")
        assert (reason, "it is asked again in" in message) == (Reason.UNREACHABLE, True)


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    assert refused("http://no-such-host.invalid/a.txt")[0] is Reason.UNREACHABLE


def test_redirects_are_followed_to_public_and_allowed_hosts_only(server: Server) -> None:
    port = server.url.rsplit(":", 1)[1]
    server.answers["/a.txt"] = Answer(body=BODY)
    server.answers["/here"] = Answer(status=302, headers={"Location": "/a.txt"})
    server.answers["/there"] = Answer(status=302, headers={"Location": f"http://127.0.0.2:{port}/a.txt"})
    server.answers["/metadata"] = Answer(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"})
    server.answers["/file"] = Answer(status=302, headers={"Location": "file:///etc/passwd"})
    server.answers["/loop"] = Answer(status=302, headers={"Location": "/loop"})
    assert copied(f"{server.url}/here") == BODY
    for path in ("there", "metadata", "file"):
        assert refused(f"{server.url}/{path}")[0] is Reason.NOT_ALLOWED, path
    assert refused(f"{server.url}/loop")[0] is Reason.UNREACHABLE


def test_an_allowed_name_may_have_a_loopback_address(server: Server) -> None:
    server.answers["/a.txt"] = Answer(body=BODY)
    uri = server.url.replace(ALLOWED, "localhost") + "/a.txt"
    assert copied(uri) == BODY
    reason, message = refused(uri, AccessConfig(fetch_attempts=1))
    assert reason is Reason.NOT_ALLOWED
    assert "--allow-hosts localhost" in message


@pytest.mark.parametrize(
    "uri",
    [
        *("file:///etc/passwd", "file:/etc/passwd://x", "local:///etc/passwd", "://etc/passwd", "c://etc/passwd"),
        *("zip://a.txt::file:///etc/passwd", "simplecache::https://example.com/a.txt", "https://example.com::file"),
        *("ftp://example.com/a", "memory://a", "github://o:r@main/x", "tar://x", "reference://", "nosuch://x"),
    ],
)
def test_a_scheme_that_is_not_in_the_list_is_not_allowed(uri: str) -> None:
    reason, message = refused(uri)
    assert reason is Reason.NOT_ALLOWED
    assert "--allow-schemes" in message


def test_every_part_of_a_chained_url_must_be_allowed(server: Server) -> None:
    with fsspec.open("memory://a.txt", "wb") as f:
        f.write(BODY)
    allowed = AccessConfig(allow_schemes=("memory", "simplecache"), allow_hosts=(ALLOWED,))
    assert copied("memory://a.txt", allowed) == BODY
    server.answers["/a.txt"] = Answer(body=BODY)
    assert copied(f"simplecache::{server.url}/a.txt", allowed) == BODY
    strict = AccessConfig(allow_schemes=("simplecache",))
    assert refused(f"simplecache::{server.url}/a.txt", strict)[0] is Reason.NOT_ALLOWED
    assert refused("memory://b.txt", allowed)[0] is Reason.MISSING


def test_a_file_that_is_read_by_ranges_obeys_the_same_rules(server: Server) -> None:
    server.answers["/a.txt"] = Answer(body=BODY)
    with open_remote(f"{server.url}/a.txt", OPEN) as file:
        assert file.read(10) == BODY[:10]
    with pytest.raises(InputError) as e, open_remote(f"{server.url}/gone.txt", OPEN):
        pass
    assert e.value.reason is Reason.MISSING


def test_a_full_disk_is_a_storage_error_and_is_not_tried_again(server: Server) -> None:
    server.answers["/a.txt"] = Answer(body=BODY)
    with pytest.raises(StorageError, match="No space left"):
        copy_remote(f"{server.url}/a.txt", OPEN, Path("/dev/full"), max_bytes=1 << 20)
    assert server.requests == ["HEAD /a.txt", "GET /a.txt"]


def test_the_time_limit_of_an_item_ends_a_slow_transfer_and_does_not_reject_the_content(server: Server) -> None:
    server.answers["/slow.txt"] = Answer(body=BODY, delay_s=0.2)
    with time_limit(0.3):
        reason, message = refused(f"{server.url}/slow.txt", OPEN)
    assert reason is Reason.UNREACHABLE
    assert "time limit" in message
