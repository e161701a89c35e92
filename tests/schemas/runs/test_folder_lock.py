from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.errors import LeaseHeld, StorageError
from schemas.runs.folder_lock import LOCK, locked_folder, take_lock


def test_a_folder_is_locked_while_the_body_runs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        with locked_folder(out):
            assert (out / LOCK).exists()
            with pytest.raises(LeaseHeld, match=f"{out} is in use by another longreel command"), locked_folder(out):
                pass
        assert not out.exists()
    with locked_folder(out):
        (out / "made").touch()
    assert [path.name for path in out.iterdir()] == ["made"]


def test_a_lock_that_a_killed_command_left_is_taken(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    with locked_folder(tmp_path):
        pass


def test_a_file_that_was_deleted_is_no_lock(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        (tmp_path / LOCK).unlink()
        with locked_folder(tmp_path):  # the first one is lost, and its file is another one
            pass


def test_a_lock_is_no_link_and_no_fifo(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    (tmp_path / LOCK).symlink_to("other")
    with pytest.raises((OSError, StorageError), match="not a regular file"), locked_folder(tmp_path):
        pass
    (tmp_path / LOCK).unlink()
    os.mkfifo(tmp_path / LOCK)
    with pytest.raises((OSError, StorageError), match="not a regular file"), locked_folder(tmp_path):
        pass


def test_a_second_lock_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with (tmp_path / "a").open() as one, (tmp_path / "a").open() as other:
        assert take_lock(one.fileno())
        assert not take_lock(other.fileno())
