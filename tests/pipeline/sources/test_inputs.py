"""Local, remote and tabular inputs as local files."""

from __future__ import annotations

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
    assert reason_of("nosuchprotocol://x/y") is Reason.UNREADABLE


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
