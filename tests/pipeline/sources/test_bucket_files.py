"""Inputs in buckets: what is missing, what is unreachable, and that they are read like local ones."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import bucket_files
from pipeline.sources.access import AccessConfig
from pipeline.sources.inputs import local_file, stat
from schemas.errors import InputError, StorageError
from schemas.storage.location import Location
from tests.support.servers.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.servers.object_servers import ObjectServer, enter
from tests.support.surveys import run_survey

_QUICK = AccessConfig(fetch_attempts=3, fetch_max_wait_s=5.0)
_TEXT = "It was a bright cold day in April, and the clocks were striking thirteen. " * 40


@pytest.fixture(params=["s3", "gcs"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultyProxy, Location]]:
    """A proxy in front of a server, and a new bucket there."""
    server = request.getfixturevalue(request.param)
    with faulty_proxy(server.endpoint, rate=0.0) as made:
        enter(server.behind(made.endpoint), monkeypatch)
        yield made, server.bucket()


def _reason(uri: str, **options: object) -> tuple[str, str]:
    with pytest.raises(InputError) as e, local_file(uri, access=_QUICK, **options):  # type: ignore[arg-type]
        pass
    return e.value.reason.value, str(e.value)


def test_an_object_is_copied_and_the_copy_removed(proxy: tuple[FaultyProxy, Location]) -> None:
    _, bucket = proxy
    version = (bucket / "a.txt").write(b"remote")
    with local_file(f"{bucket}/a.txt") as path:
        assert (path.read_bytes(), path.suffix) == (b"remote", ".txt")
    assert not path.exists()
    assert stat(f"{bucket}/a.txt") == (6, version)
    assert _reason(f"{bucket}/a.txt", max_bytes=5)[0] == "too_large"


def test_an_absent_object_is_missing_and_all_else_is_unreachable(proxy: tuple[FaultyProxy, Location]) -> None:
    faults, bucket = proxy
    (bucket / "a.txt").write(b"remote")
    assert _reason(f"{bucket}/b.txt") == ("missing", f"{bucket}/b.txt: not found")
    for status, attempts in ((403, 1), (500, 3), (429, 3), (418, 1)):
        bucket_files._down.clear()
        faults.status, faults.requests = status, 0
        reason, message = _reason(f"{bucket}/a.txt")
        assert (reason, f"HTTP {status}" in message) == ("unreachable", True)
        assert faults.requests == attempts
    absent = Location.parse(f"{bucket.scheme}://bucket-{uuid.uuid4().hex}")
    faults.status = 0
    assert _reason(f"{absent}/a.txt")[0] == "unreachable"


def test_a_bucket_that_does_not_answer_is_not_asked_again_at_once(
    s3: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(s3.behind("http://127.0.0.1:9"), monkeypatch)
    bucket = f"s3://bucket-{uuid.uuid4().hex}"
    assert "3 attempts" in _reason(f"{bucket}/a.txt")[1]
    started = time.monotonic()
    for number in range(100):
        assert "did not answer; it is asked again in" in _reason(f"{bucket}/{number}.txt")[1]
    assert time.monotonic() - started < 1.0


def test_a_full_disk_is_not_an_error_of_the_input(s3: ObjectServer) -> None:
    bucket = s3.bucket()
    (bucket / "a.txt").write(b"remote")
    with pytest.raises(StorageError, match="No space left"):
        bucket_files.copy_object(f"{bucket}/a.txt", _QUICK, Path("/dev/full"), max_bytes=100)


def test_requests_that_fail_at_random_do_not_change_what_is_read(proxy: tuple[FaultyProxy, Location]) -> None:
    faults, bucket = proxy
    data = b"0123456789" * 300_000
    (bucket / "a.txt").write(data)
    faults.rate = 0.3
    for _ in range(5):
        bucket_files._down.clear()
        with local_file(f"{bucket}/a.txt", access=AccessConfig(fetch_attempts=20)) as path:
            assert path.read_bytes() == data
    assert faults.failed


def test_a_survey_of_a_bucket_has_the_rows_of_the_same_local_folder(
    proxy: tuple[FaultyProxy, Location], tmp_path: Path
) -> None:
    _, bucket = proxy
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(_TEXT)
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": f"{n} {_TEXT}"}) + "\n" for n in range(3)))
    pq.write_table(pa.table({"text": [f"{n} {_TEXT}" for n in range(10, 13)]}), folder / "c.parquet")
    for path in folder.iterdir():
        (bucket / path.name).write(path.read_bytes())

    def rows(inputs: list[str], out: str) -> list[dict[str, object]]:
        report, found, _ = run_survey(inputs, tmp_path / out)
        assert report.rejected == {}
        own = ("uri", "fingerprint")
        return [{key: value for key, value in row.items() if key not in own} for _, row in sorted(found.items())]

    names = ("a.txt", "b.jsonl", "c.parquet")
    remote = rows([f"{bucket}/{name}" for name in names], "remote")
    assert remote == rows([f"{folder}/{name}" for name in names], "local")
    assert len(remote) == 7
