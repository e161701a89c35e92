from __future__ import annotations

import errno
from pathlib import Path

import pytest

from schemas.errors import DatasetError, StorageError
from schemas.runs.storage import read_errors, write_errors


@pytest.mark.parametrize(
    "error",
    [ValueError("RESOURCE_EXHAUSTED: write failed: No space left on device"), ValueError("Disk quota exceeded")],
)
def test_a_full_disk_reported_as_a_value_error_is_a_storage_error(error: ValueError) -> None:
    message = "cannot write a checkpoint to run: .*Earlier checkpoints are kept: free some space"
    with pytest.raises(StorageError, match=message), write_errors(Path("run"), what="checkpoint"):
        raise error


def test_a_full_disk_reported_by_the_system_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="run"), write_errors(Path("run"), what="checkpoint"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_another_error_while_writing_is_not_translated() -> None:
    with pytest.raises(ValueError, match="^shapes differ$"), write_errors(Path("run"), what="checkpoint"):
        raise ValueError("shapes differ")


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("gone"), KeyError("gone")])
def test_an_unreadable_checkpoint_is_a_dataset_error_that_names_the_folder(error: Exception) -> None:
    message = "the snapshot run/5 cannot be read .*gone.*Remove that folder to resume from the snapshot before it"
    with pytest.raises(DatasetError, match=message), read_errors(Path("run/5"), what="snapshot"):
        raise error
