"""Remote stores under faults: requests that fail at random, wrong credentials, servers that do not answer."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import Conflict, StorageError
from schemas.storage import failures, gcs, s3
from schemas.storage.location import Location
from tests.support.servers.faulty_proxy import Answer, FaultyProxy, faulty_proxy
from tests.support.servers.object_servers import SECRET, ObjectServer, enter

_KINDS = ("s3", "gcs")


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """A server of the kind `request.param`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = request.getfixturevalue(request.param)
    assert isinstance(found, ObjectServer)
    return found


@pytest.fixture
def proxy(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy in front of it, which a test tells how to fail."""
    with faulty_proxy(server.endpoint, rate=0.0) as made:
        enter(server.behind(made.endpoint), monkeypatch)
        yield made


every_kind = pytest.mark.parametrize("server", _KINDS, indirect=True)


@every_kind
@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_requests_that_fail_at_random_are_repeated_until_they_succeed(
    server: ObjectServer, proxy: FaultyProxy, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_FIRST_WAIT_S", 0.002)
    folder = server.bucket() / "folder"
    proxy.rate = rate
    data = np.random.default_rng(1).bytes((9 << 20) + 1)
    version = (folder / "marker").write(b"0", if_absent=True)
    for number in range(12):
        version = (folder / "marker").write(b"%d" % number, if_version=version)
        (folder / f"{number:02d}.bin").write(b"%d" % number, if_absent=True)
        assert (folder / "marker").read() == b"%d" % number
        with pytest.raises(Conflict):
            (folder / "marker").write(b"", if_absent=True)
    with (folder / "large").writing() as path:
        path.write_bytes(data)
    assert (folder / "large").local().read_bytes() == data
    with (folder / "large").open() as stream:
        stream.seek(1 << 20)
        assert stream.read(1 << 20) == data[1 << 20 : 2 << 20]
    assert [place.name for place in folder.list("*.bin")] == [f"{number:02d}.bin" for number in range(12)]
    folder.delete_folder()
    assert list(folder.walk()) == []
    assert proxy.failed or rate < 0.1


@every_kind
def test_a_conditional_write_whose_answer_is_lost_counts_as_written(server: ObjectServer, proxy: FaultyProxy) -> None:
    location = server.bucket() / "marker"
    proxy.next_faults = ["answer lost"]
    version = location.write(b"first", if_absent=True)
    proxy.next_faults = ["answer lost"]
    assert location.write(b"second", if_version=version) != version
    assert location.read() == b"second"
    assert proxy.failed == 2


@every_kind
@pytest.mark.parametrize("status", [401, 403])
def test_wrong_credentials_are_named_and_not_shown(server: ObjectServer, proxy: FaultyProxy, status: int) -> None:
    location = server.bucket() / "x"
    proxy.status = status
    for call in (location.read, lambda: location.write(b"x"), location.list):
        with pytest.raises(StorageError, match=rf"{location}.*|access denied \(HTTP {status}\).*Check the cred") as e:
            call()
        assert SECRET not in str(e.value)
        assert e.value.__cause__ is None
    assert proxy.requests <= 6  # one a call; Google's client asks for new credentials


@pytest.mark.parametrize("server", ["s3"], indirect=True)
def test_s3_refuses_unknown_keys(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = server.bucket()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown-key")
    with server.checking_keys(), pytest.raises(StorageError, match="access denied .HTTP 403 InvalidAccessKeyId") as e:
        (bucket / "x").read()
    assert "unknown-key" not in str(e.value)


@pytest.mark.parametrize("kind", _KINDS)
def test_a_server_that_does_not_answer_is_an_error_after_a_bounded_time(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "FIRST_PATIENCE_S", 0.5)
    server = request.getfixturevalue(kind)
    enter(server.behind("http://127.0.0.1:9"), monkeypatch)
    location = Location.parse(f"{server.scheme}://bucket-{uuid.uuid4().hex}/x")
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot be reached \(no connection; \d attempts.*Check the network"):
        location.read()
    assert time.monotonic() - started < 5.0


@every_kind
def test_a_server_that_stays_busy_is_an_error_after_a_bounded_time(
    server: ObjectServer, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "PATIENCE_S", 0.5)
    location = server.bucket() / "x"
    proxy.status = 503
    with pytest.raises(StorageError, match=r"cannot be reached \(HTTP 503; \d attempts"):
        location.read()
    assert proxy.requests > 1


@every_kind
def test_bytes_that_the_store_has_altered_are_noticed(server: ObjectServer, proxy: FaultyProxy) -> None:
    location = server.bucket() / "x"
    proxy.alter = (b"written", b"wRITten")
    with pytest.raises(StorageError, match="has not kept what was sent"), location.writing() as path:
        path.write_bytes(b"written")


@every_kind
def test_more_bytes_than_were_asked_for_are_an_error(server: ObjectServer, proxy: FaultyProxy) -> None:
    location = server.bucket() / "x"
    location.write(b"0123456789")
    proxy.lie = lambda path, answer: (*answer[:2], answer[2] + b"more")
    with pytest.raises(StorageError, match="returned 7 bytes, 3 were asked for"):
        location.read_range(2, 3)


@every_kind
def test_a_list_that_is_not_sorted_is_an_error(server: ObjectServer, proxy: FaultyProxy) -> None:
    folder = server.bucket() / "folder"
    for name in ("a", "b"):
        (folder / name).write(b"x")
    proxy.lie = lambda path, answer: (*answer[:2], answer[2].replace(b"folder/a", b"folder/c"))
    with pytest.raises(StorageError, match="lists 'folder/b' after 'folder/c'"):
        list(folder.walk())


@every_kind
@pytest.mark.parametrize("size", [0, 9])
def test_a_size_that_is_too_small_is_an_error_and_not_a_shorter_copy(
    server: ObjectServer, proxy: FaultyProxy, size: int
) -> None:
    location = server.bucket() / "x"
    location.write(b"0123456789")

    def lie(path: str, answer: Answer) -> Answer:
        status, headers, body = answer
        if not body:  # of HEAD
            return status, headers | {"Content-Length": str(size)}, body
        return status, headers, re.sub(rb'"size": ?"10"', b'"size":"%d"' % size, body)

    proxy.lie = lie
    for read in (location.local, lambda: location.open().read()):
        with pytest.raises(StorageError, match=f"says that it has {size} bytes, and returns more"):
            read()


@every_kind
def test_an_empty_object_is_read_and_copied(server: ObjectServer, proxy: FaultyProxy) -> None:
    location = server.bucket() / "x"
    location.write(b"")
    assert location.read() == location.open().read() == location.local().read_bytes() == b""
    assert proxy.failed == 0


@every_kind
def test_a_server_that_answers_everything_with_a_page_is_an_error(
    server: ObjectServer, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "PATIENCE_S", 0.1)
    folder = server.bucket() / "folder"
    proxy.lie = lambda path, answer: (200, {"Content-Type": "text/html"}, b"<html>Sign in</html>")
    calls: tuple[Callable[[], object], ...] = (
        folder.list,
        lambda: list(folder.walk()),
        folder.is_folder,
        folder.read,
        folder.exists,
        folder.local,
    )
    for call in calls:
        with pytest.raises(StorageError, match="refuses the request|cannot be reached"):
            call()


@every_kind
def test_a_list_that_does_not_end_is_an_error(
    server: ObjectServer, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in (s3, gcs):
        monkeypatch.setattr(client, "LIST_LIMIT_S", 0.2)
    folder = server.bucket() / "folder"

    def lie(path: str, answer: Answer) -> Answer:
        token = str(proxy.requests)
        if server.scheme == "gs":
            return 200, {}, json.dumps({"kind": "storage#objects", "nextPageToken": token}).encode()
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
        return 200, {}, f"<ListBucketResult>{more}</ListBucketResult>".encode()

    proxy.lie = lie
    calls: tuple[Callable[[], object], ...] = (folder.list, lambda: list(folder.walk()))
    for call in calls:
        with pytest.raises(StorageError, match="list does not end within 0.2 s"):
            call()


@pytest.mark.parametrize("server", ["gcs"], indirect=True)
def test_bytes_that_do_not_have_the_hash_that_the_store_names_are_an_error(
    server: ObjectServer, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "PATIENCE_S", 0.1)
    location = server.bucket() / "x"
    location.write(b"0123456789")
    proxy.lie = lambda path, answer: (*answer[:2], answer[2].replace(b"0123", b"0124"))
    for call in (location.read, location.local):
        with pytest.raises(StorageError, match="do(es)? not have the hash that it names"):
            call()
