from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from schemas.errors import StorageError
from schemas.storage.location import Location, located
from schemas.storage.replaceable import (
    copy_to_standard_output,
    is_standard_output,
    require_folder,
    require_replaceable,
    special_file,
)


def test_nothing_a_file_and_a_link_to_a_file_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("new", "file", "link", "dangling", "folder/new"):
        require_replaceable(tmp_path / name)
        located(tmp_path / name).write(b"new")
    assert not (tmp_path / "link").is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_link_is_replaced_and_what_it_leads_to_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "link").symlink_to("other")
    located(tmp_path / "link").write(b"new")
    assert (tmp_path / "other").read_text() == "kept"
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize("write", ["write", "write if absent", "writing"])
def test_no_way_of_writing_replaces_a_folder_or_special_file(tmp_path: Path, write: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("folder", "fifo", "link", "socket"):
            with pytest.raises(StorageError, match=f"cannot write .*{name}: .*; move it away"):
                _write(located(tmp_path / name), write)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "folder", "link", "socket"]
    assert (tmp_path / "fifo").is_fifo()
    assert (tmp_path / "link").is_symlink()


def _write(location: Location, how: str) -> None:
    if how == "writing":
        with location.writing() as temporary:
            temporary.write_text("new")
    else:
        location.write(b"new", if_absent=how == "write if absent")


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    require_folder(tmp_path)
    require_folder(tmp_path / "new" / "new")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=f"folder {path}: {tmp_path / 'file'} is a file; move it away"):
            require_folder(path)
    with pytest.raises(StorageError, match=r"cannot write .*below: Not a directory: .*Move it away"):
        located(tmp_path / "file" / "folder" / "below").write(b"new")


def test_names_of_standard_output_are_known_and_the_folders_of_devices_take_no_files() -> None:
    assert all(map(is_standard_output, ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")))
    assert not is_standard_output("stdout")
    require_replaceable("/dev/shm/new")
    for path in ("/dev/new", "/proc/new", "/sys/new"):
        with pytest.raises(StorageError, match="holds devices and what the kernel shows"):
            require_replaceable(path)


def test_a_file_is_copied_to_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("content")
    copy_to_standard_output(tmp_path / "file")
    located(Path("/dev/stdout")).write(b", more")
    assert capfd.readouterr().out == "content, more"


def test_special_files_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert special_file(tmp_path / "fifo") == "a FIFO, socket or device"
    assert [special_file(path) for path in (tmp_path, tmp_path / "none", "a\0b")] == [None] * 3
