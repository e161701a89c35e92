from __future__ import annotations

import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import ConfigError, StorageError
from schemas.storage import cache
from schemas.storage.cache import cache_folder, cached
from schemas.storage.store import Stat


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def _copy(name: str, data: bytes, version: str = "1") -> Path:
    return cached(f"s3://bucket/{name}", Stat(len(data), version), lambda path: _write(path, data))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def test_an_object_is_downloaded_once_for_each_version() -> None:
    calls: list[str] = []

    def download(path: Path) -> None:
        calls.append(path.name)
        time.sleep(0.05)
        path.write_bytes(b"abc")

    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: cached("s3://b/x", Stat(3, "1"), download), range(8)))
    assert len(calls) == len(paths) == 1
    assert cached("s3://b/x", Stat(3, "2"), download) not in paths
    assert len(calls) == 2


def test_a_failed_download_leaves_nothing() -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise StorageError

    with pytest.raises(StorageError):
        cached("s3://b/x", Stat(9, "1"), fail)
    assert [path.suffix for path in cache_folder().iterdir()] == [".lock"]


def test_the_copies_that_were_not_used_for_longest_are_deleted_and_stay_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGREEL_CACHE_BYTES", "250")
    old, newer = _copy("old", b"o" * 100), _copy("newer", b"n" * 100)
    with old.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    os.utime(old, (0, 1000))
    os.utime(newer, (0, 2000))
    newest = _copy("newest", b"x" * 100)
    assert [path.exists() for path in (old, newer, newest)] == [False, True, True]
    assert mapped[:] == b"o" * 100
    assert _copy("old", b"o" * 100).read_bytes() == b"o" * 100


def test_copies_that_were_just_asked_for_are_kept_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGREEL_CACHE_BYTES", "1")
    assert all(path.exists() for path in [_copy("a", b"a"), _copy("b", b"b"), _copy("c", b"c")])


def test_copies_from_before_the_clock_was_set_back_are_deleted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGREEL_CACHE_BYTES", "150")
    future, old = _copy("future", b"f" * 100), _copy("old", b"o" * 100)
    os.utime(future, (0, time.time() + 86_400))
    os.utime(old, (0, time.time() - 100))
    new = _copy("new", b"n" * 50)
    assert [path.exists() for path in (future, old, new)] == [False, True, True]


def test_files_that_a_killed_process_left_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_KEPT_S", 10.0)
    stale = cache_folder() / "0123.99.tmp"
    stale.touch()
    os.utime(stale, (0, 1000))
    _copy("a", b"a")
    assert not stale.exists()


def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    (tmp_path / f"longreel-cache-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"longreel-cache-{os.getuid()}").chmod(0o777)
    with pytest.raises(StorageError, match="open to others"):
        cache_folder()


def test_a_limit_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGREEL_CACHE_BYTES", "10 GB")
    with pytest.raises(ConfigError, match="LONGREEL_CACHE_BYTES must be a number of bytes, got '10 GB'"):
        _copy("a", b"a")
