from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import safetensors

from schemas import errors
from schemas.errors import (
    ConfigError,
    DatasetError,
    InputError,
    LongreelError,
    Reason,
    StorageError,
    UsageError,
    storage_errors,
)


def test_a_full_disk_is_a_storage_error_that_says_what_to_do() -> None:
    with pytest.raises(StorageError, match="No space left.*run the same command again"), storage_errors(Path("x")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_writing_to_a_full_device_is_a_storage_error() -> None:
    with pytest.raises(StorageError), storage_errors(Path("/dev/full")), Path("/dev/full").open("wb", 0) as f:
        f.write(b"x")


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_the_errno_in_a_message_of_arrow_is_recognized(code: int) -> None:
    message = f"[Errno {code}] Error writing bytes to file. Detail: [errno {code}] {os.strerror(code)}"
    with pytest.raises(StorageError, match="cannot write x"), storage_errors(Path("x")):
        raise OSError(message)


def test_other_errors_pass_unchanged() -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file")
    with pytest.raises(FileNotFoundError) as e, storage_errors(Path("x")):
        raise missing
    assert e.value is missing


def test_the_docstring_lists_every_exception() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, LongreelError)]
    assert all(c.__name__ in (errors.__doc__ or "") for c in classes)
    assert issubclass(UsageError, ConfigError)
    assert issubclass(ConfigError, ValueError)


def test_an_input_error_has_a_reason() -> None:
    error = InputError(Reason.EMPTY, "zero bytes")
    assert (error.reason, str(error)) == ("empty", "zero bytes")


def test_an_error_of_a_library_in_rust_that_quotes_a_full_disk_is_one() -> None:
    with pytest.raises(StorageError, match="cannot write x: .*No space left"), storage_errors(Path("x")):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")
    with pytest.raises(ValueError, match="not of the storage"), storage_errors(Path("x")):
        raise ValueError("not of the storage")
    with pytest.raises(DatasetError), storage_errors(Path("x")):
        raise DatasetError("y cannot be read (os error 13)")
