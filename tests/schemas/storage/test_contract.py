"""What every kind of storage guarantees."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.checksums import file_checksum
from schemas.errors import Conflict, DatasetError, StorageError
from schemas.files import inside, read_array, read_json, write_array, write_json
from schemas.fingerprint import sha256_file
from schemas.storage.location import Location, located
from schemas.tables import open_table, read_table, write_table

_KINDS = ("local", "s3", "gcs")
_REMOTE = ("s3", "gcs")
_buckets: dict[str, Location] = {}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """An empty folder of a store of the kind `request.param`."""
    kind = request.param
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    if kind == "local":
        return located(tmp_path / "folder")
    server = request.getfixturevalue(kind)
    if kind not in _buckets:
        _buckets[kind] = server.bucket()
    return _buckets[kind] / uuid.uuid4().hex


every_kind = pytest.mark.parametrize("folder", _KINDS, indirect=True)
every_remote_kind = pytest.mark.parametrize("folder", _REMOTE, indirect=True)


@every_kind
def test_what_is_written_is_read_back(folder: Location) -> None:
    location = folder / "a" / "b é%20?#.bin"
    version = location.write(b"0123456789")
    found = location.stat()
    assert found is not None
    assert (found.size, found.version) == (10, version)
    assert location.read() == b"0123456789"
    assert location.read(limit=4) == b"0123"
    assert location.read_range(2, 3) == b"234"
    assert location.read_range(10, 0) == b""
    assert location.local().read_bytes() == b"0123456789"
    assert location.write(b"other") != version
    assert location.read() == location.local().read_bytes() == b"other"


@every_kind
def test_an_empty_object_is_read(folder: Location) -> None:
    location = folder / "empty"
    location.write(b"")
    assert (location.read(), location.read(limit=3), location.local().read_bytes()) == (b"", b"", b"")
    with location.open() as stream:
        assert stream.read() == b""


@every_kind
def test_what_is_absent_raises_the_error_of_an_absent_file(folder: Location) -> None:
    absent = folder / "absent"
    assert absent.stat() is None
    assert not absent.exists()
    assert absent.list() == list(absent.walk()) == []
    for read in (absent.read, absent.open, lambda: absent.read_range(0, 1), lambda: absent.local().read_bytes()):
        with pytest.raises(FileNotFoundError):
            read()
    absent.delete()
    absent.delete_folder()


@every_kind
def test_a_range_past_the_end_is_an_error(folder: Location) -> None:
    location = folder / "x"
    location.write(b"0123")
    for start, length in ((2, 3), (4, 1), (9, 1)):
        with pytest.raises(EOFError):
            location.read_range(start, length)


@every_kind
def test_a_folder_is_listed_walked_and_deleted(folder: Location) -> None:
    names = ["b/c/d.tar", "b/c.tar", "a.tar", "b-c.tar", "b/.hidden"]
    for name in names:
        (folder / name).write(b"x")
    assert [place.name for place in folder.list()] == ["a.tar", "b", "b-c.tar"]
    assert folder.list("*.tar") == [folder / "a.tar", folder / "b-c.tar"]
    assert [place.relative_to(folder) for place in folder.walk()] == sorted(names)
    assert (folder / "b").exists()
    assert (folder / "b").stat() is None
    assert not (folder / "b-").exists()
    (folder / "b").delete_folder()
    assert list(folder.walk()) == [folder / "a.tar", folder / "b-c.tar"]


@every_kind
def test_a_folder_of_more_objects_than_a_page_is_walked(
    folder: Location, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("schemas.storage.gcs._PAGE", 2)
    monkeypatch.setattr("schemas.storage.s3._PAGE", 2)
    names = ["a", "a-b/c", "a/b", "a/b/c", "b", "c/1", "c/2"]
    if request.node.callspec.params["folder"] == "local":
        names = ["a-b/c", "a/b/c", "b", "c/1", "c/2"]  # a file is no folder there
    for name in names:
        (folder / name).write(b"x")
    assert [place.relative_to(folder) for place in folder.walk()] == sorted(names)
    assert sum(size for _, size in folder.sizes()) == len(names)
    folder.delete_folder()
    assert list(folder.walk()) == []


@every_kind
def test_one_of_sixteen_threads_creates_an_object(folder: Location) -> None:
    winners = _race(lambda number: (folder / "marker").write(b"%d" % number, if_absent=True))
    assert (folder / "marker").read() == b"%d" % winners[0]
    assert len(winners) == 1


@every_kind
def test_one_of_sixteen_threads_replaces_a_version(folder: Location) -> None:
    location = folder / "marker"
    version = location.write(b"first")
    winners = _race(lambda number: location.write(b"%d" % number, if_version=version))
    assert location.read() == b"%d" % winners[0]
    assert len(winners) == 1


@every_kind
def test_a_version_is_not_replaced_twice_or_after_deletion(folder: Location) -> None:
    location = folder / "marker"
    first = location.write(b"first")
    second = location.write(b"second", if_version=first)
    with pytest.raises(Conflict):
        location.write(b"third", if_version=first)
    location.delete()
    with pytest.raises(Conflict):
        location.write(b"third", if_version=second)
    assert not location.exists()


@every_kind
def test_a_failed_upload_leaves_the_old_object(folder: Location) -> None:
    location = folder / "x"
    location.write(b"old")

    def fail() -> None:
        with location.writing() as path:
            path.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert location.read() == b"old"
    assert list(folder.walk()) == [location]


_UPLOAD = """
import os, sys
from schemas.storage.location import Location
with Location.parse(sys.argv[1]).writing() as path:
    with path.open("wb") as file:
        for _ in range(20):
            file.write(os.urandom(1 << 20))
    print("written", flush=True)
"""


@pytest.mark.slow
@every_kind
def test_a_killed_uploader_leaves_the_old_object_or_the_whole_new_one(folder: Location) -> None:
    location = folder / "x"
    location.write(b"old")
    for delay_s in (0.0, 0.05):
        uploader = subprocess.Popen([sys.executable, "-c", _UPLOAD, str(location)], stdout=subprocess.PIPE, text=True)
        assert uploader.stdout is not None
        assert uploader.stdout.readline() == "written\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            uploader.wait(delay_s)
        uploader.kill()
        uploader.communicate()
        found = location.stat()
        assert found is not None
        assert found.size in (3, 20 << 20)
    assert list(folder.walk()) == [location]


@every_kind
def test_a_large_file_is_uploaded_and_read_in_any_order(folder: Location) -> None:
    data = np.random.default_rng(0).bytes((20 << 20) + 5)
    with (folder / "x").writing() as path:
        path.write_bytes(data)
    assert (folder / "x").local().read_bytes() == data
    with (folder / "x").open() as stream:
        for at, length in ((9 << 20, 3 << 20), (0, 10), (10, 1 << 20), (len(data) - 7, 100)):
            stream.seek(at)
            assert stream.read(length) == data[at : at + length]
        stream.seek(0)
        assert stream.read() == data


@every_kind
def test_tables_arrays_and_json_are_stored_anywhere(folder: Location) -> None:
    table = pa.table({"a": list(range(1000)), "b": ["x"] * 1000})
    write_table(folder / "t.parquet", table, row_group_size=100)
    assert read_table(folder / "t.parquet", ["a"], filters=[("a", "<", 3)])["a"].to_pylist() == [0, 1, 2]
    with open_table(folder / "t.parquet") as file:
        assert file.num_row_groups == 10
    with (folder / "t.parquet").open() as stream:
        assert pq.read_table(stream).equals(table)
    write_array(folder / "x.npy", np.arange(5))
    np.testing.assert_array_equal(read_array(folder / "x.npy"), np.arange(5))
    write_json(folder / "x.json", {"a": 1})
    assert read_json(folder / "x.json") == {"a": 1}
    (folder / "y").write(b"abc")
    assert file_checksum(folder / "y") == "06b05ab6733a618578af5f94892f3950"
    assert sha256_file(folder / "y") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@every_kind
def test_damaged_and_absent_tables_are_errors_of_the_dataset(folder: Location) -> None:
    write_table(folder / "t.parquet", pa.table({"a": [1]}))
    data = bytearray((folder / "t.parquet").read())
    data[10] ^= 1
    (folder / "t.parquet").write(bytes(data))
    for name in ("t.parquet", "absent.parquet"):
        with pytest.raises(DatasetError, match=name):
            read_table(folder / name)
    with pytest.raises(DatasetError, match=r"absent\.npy"):
        read_array(folder / "absent.npy")


@every_kind
def test_a_name_from_data_does_not_lead_out_of_a_folder(folder: Location) -> None:
    assert inside(folder, "a/b.tar") == folder / "a/b.tar"
    with pytest.raises(DatasetError, match="outside"):
        inside(folder, "../b.tar")


@every_remote_kind
def test_an_object_that_is_replaced_while_it_is_read_is_an_error(folder: Location) -> None:
    location = folder / "x"
    location.write(b"a" * 1_000_000)
    with location.open() as stream:
        assert stream.read(10) == b"a" * 10
        location.write(b"b" * 1_000_000)
        with pytest.raises(StorageError, match="replaced while it was read"):
            stream.read()


@pytest.mark.parametrize("kind", _REMOTE)
def test_a_missing_bucket_is_an_error_that_names_it(kind: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(kind)
    scheme = {"s3": "s3", "gcs": "gs"}[kind]
    location = Location.parse(f"{scheme}://bucket-{uuid.uuid4().hex}/x")
    for call in (location.stat, location.read, location.list, location.exists, location.delete_folder):
        with pytest.raises(StorageError, match=f"the bucket {scheme}://bucket-.* does not exist; create it"):
            call()
    with pytest.raises(StorageError, match="does not exist"):
        location.write(b"x")
    with pytest.raises(StorageError, match="does not exist"), location.writing() as path:
        path.write_bytes(b"x")


def _race(write: object) -> list[int]:
    """Return the numbers of the threads whose write succeeded."""
    barrier = threading.Barrier(16)

    def attempt(number: int) -> bool:
        barrier.wait()
        try:
            write(number)  # type: ignore[operator]
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        return [number for number, won in enumerate(pool.map(attempt, range(16))) if won]
