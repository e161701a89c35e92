from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from schemas.errors import Conflict, StorageError
from schemas.storage.location import located


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    location = located(tmp_path / "file")
    location.write(b"old")

    def fail() -> None:
        with location.writing() as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert location.read() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_versions_differ_between_writes_that_follow_at_once(tmp_path: Path) -> None:
    location = located(tmp_path / "file")
    version = location.write(b"0", if_absent=True)
    versions = {version}
    for number in range(50):
        version = location.write(b"%d" % (number % 10), if_version=version)
        versions.add(version)
    assert len(versions) == 51
    found = location.stat()
    assert found is not None
    assert found.version == version


def test_a_deleted_file_is_not_replaced(tmp_path: Path) -> None:
    location = located(tmp_path / "file")
    version = location.write(b"0")
    location.delete()
    with pytest.raises(Conflict, match="deleted"):
        location.write(b"1", if_version=version)
    assert not location.exists()


def test_a_file_is_created_once_where_there_are_no_hard_links(tmp_path: Path) -> None:
    location = located(tmp_path / "file")
    with mock.patch.object(os, "link", side_effect=PermissionError(1, "no hard links")):
        location.write(b"0", if_absent=True)
        with pytest.raises(Conflict, match="exists already"):
            location.write(b"1", if_absent=True)
    assert location.read() == b"0"


def test_temporary_files_of_a_killed_process_are_not_listed(tmp_path: Path) -> None:
    folder = located(tmp_path)
    (folder / "a").write(b"")
    (tmp_path / ".a.0123abcd.tmp").touch()
    (tmp_path / ".hidden").touch()
    assert [place.name for place in folder.list()] == [place.name for place in folder.walk()] == [".hidden", "a"]


def test_files_are_walked_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["a/b", "a.b", "a-b", "a/c/d", "b", "a/c.d"]
    for name in names:
        (located(tmp_path) / name).write(b"")
    assert [place.relative_to(located(tmp_path)) for place in located(tmp_path).walk()] == sorted(names)


def test_a_link_to_a_folder_is_not_followed_by_a_walk(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(located(tmp_path).walk()) == []


def test_an_empty_folder_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert not located(tmp_path / "empty").exists()
    assert located(tmp_path).exists()
    assert located(tmp_path).stat() is None


def test_deleting_what_is_absent_is_no_error(tmp_path: Path) -> None:
    located(tmp_path / "a").delete()
    located(tmp_path / "a").delete_folder()
    (located(tmp_path) / "a" / "b").write(b"")
    located(tmp_path / "a").delete_folder()
    assert not (tmp_path / "a").exists()


def test_a_file_below_a_file_is_absent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = located(tmp_path / "file" / "below")
    assert place.stat() is None
    for read in (place.read, place.open, lambda: place.read_range(0, 1)):
        with pytest.raises(FileNotFoundError):
            read()


def test_a_full_disk_is_a_storage_error_that_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="cannot write .*file: No space left"),
        located(tmp_path / "file").writing(),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
    assert list(tmp_path.iterdir()) == []
