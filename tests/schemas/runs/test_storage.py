from __future__ import annotations

import errno
from pathlib import Path

import pytest

from schemas.errors import DatasetError, StorageError
from schemas.runs.checksums import CHECKSUMS, write_checksums
from schemas.runs.storage import older_intact, read_errors, write_errors


@pytest.mark.parametrize(
    "error",
    [ValueError("RESOURCE_EXHAUSTED: write failed: No space left on device"), ValueError("Disk quota exceeded")],
)
def test_a_full_disk_reported_as_a_value_error_is_a_storage_error(error: ValueError) -> None:
    message = "cannot write a checkpoint to run: .*Earlier checkpoints are kept: free some space"
    with pytest.raises(StorageError, match=message), write_errors(Path("run"), what="checkpoint"):
        raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ValueError("RESOURCE_EXHAUSTED: Failed to write 5 bytes: No space left on device [a]"),
            "No space left on device",
        ),
        (ValueError("UNKNOWN: Failed to open file [os_error_code='30']"), "Read-only file system"),
        (ValueError("PERMISSION_DENIED: Failed to open file [os_error_code='13']"), "Permission denied"),
        (RuntimeError("RESOURCE_EXHAUSTED: x"), "RESOURCE_EXHAUSTED: x"),
    ],
)
def test_the_message_has_the_reason_without_the_places_where_the_library_raised_it(
    error: Exception, reason: str
) -> None:
    with pytest.raises(StorageError) as caught, write_errors(Path("run"), what="checkpoint"):
        raise error
    assert str(caught.value).startswith(f"cannot write a checkpoint to run: {reason}. Earlier")


def test_a_full_disk_reported_by_the_system_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="run"), write_errors(Path("run"), what="checkpoint"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_another_error_while_writing_is_not_translated() -> None:
    with pytest.raises(ValueError, match="^shapes differ$"), write_errors(Path("run"), what="checkpoint"):
        raise ValueError("shapes differ")


@pytest.mark.parametrize(
    "error",
    [
        OSError("gone"),
        ValueError("gone"),
        KeyError("gone"),
        TypeError("gone"),
        RecursionError("gone"),
        IndexError("gone"),
    ],
)
def test_an_unreadable_checkpoint_is_a_dataset_error_with_a_remedy(error: Exception) -> None:
    message = "the snapshot run/5 cannot be read .*gone.*Take another"
    with pytest.raises(DatasetError, match=message):
        _read(error)


def test_a_damaged_file_is_named_with_a_remedy() -> None:
    with pytest.raises(DatasetError, match="the snapshot run/5 is damaged: params/d is missing. Take another"):
        _read(DatasetError("params/d is missing"))


def _read(error: Exception) -> None:
    with read_errors(Path("run/5"), what="snapshot", remedy=lambda: "Take another"):
        raise error


def test_the_remedy_is_the_newest_older_checkpoint_that_is_intact(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        (tmp_path / str(step) / "params").mkdir(parents=True)
        (tmp_path / str(step) / "params" / "d").write_bytes(b"data")
        write_checksums(tmp_path / str(step), ["params"])
    (tmp_path / "6" / "params" / "d").write_bytes(b"dada")
    told = older_intact(tmp_path, 8, [2, 4, 6, 8], ["params"], what="checkpoint")
    removed = f"{tmp_path}/6, {tmp_path}/8"
    assert told == f"The newest intact checkpoint before it is {tmp_path}/4: to continue from it, remove {removed}"
    (tmp_path / "4" / CHECKSUMS).unlink()
    assert f"is {tmp_path}/2:" in older_intact(tmp_path, 8, [2, 4, 6, 8], ["params"], what="checkpoint")
    assert "No older checkpoint is intact" in older_intact(tmp_path, 2, [2, 4, 6, 8], ["params"], what="checkpoint")
