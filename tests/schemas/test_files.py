from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DatasetError
from schemas.files import atomic, inside, open_regular, write_array, write_text


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_a_file_name_that_points_outside_its_folder_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="outside"):
        inside(tmp_path, name)


def test_a_name_inside_the_folder_is_joined(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/../b.tar") == tmp_path / "a/../b.tar"


def test_arrays_and_texts_are_written_with_their_folders(tmp_path: Path) -> None:
    write_array(tmp_path / "new" / "x.npy", np.arange(3))
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "x.npy", mmap_mode="r"), np.arange(3))
    write_text(tmp_path / "new" / "x.txt", "é")
    assert (tmp_path / "new" / "x.txt").read_bytes() == b"\xc3\xa9"


def test_a_regular_file_is_opened_through_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as stream:
        assert stream.read() == b"data"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nowhere")


def test_a_fifo_a_socket_a_device_and_a_folder_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "fifo", tmp_path / "socket", tmp_path, Path("/dev/zero")):
            with pytest.raises(OSError, match="not a regular file"):
                open_regular(path)
