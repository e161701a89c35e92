"""Reasons that follow from errors of the operating system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline.sources.inputs import stat
from pipeline.sources.os_errors import reason_of
from schemas.errors import InputError, Reason


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOENT, Reason.MISSING),
        (errno.ENOTDIR, Reason.MISSING),
        (errno.ENAMETOOLONG, Reason.MISSING),
        (errno.ELOOP, Reason.NOT_ALLOWED),
        (errno.EACCES, Reason.UNREACHABLE),
        (errno.EIO, Reason.UNREACHABLE),
        (errno.ESTALE, Reason.UNREACHABLE),
        (errno.ETIMEDOUT, Reason.UNREACHABLE),
    ],
)
def test_only_a_file_that_is_not_there_is_missing(number: int, reason: Reason) -> None:
    assert reason_of(OSError(number, os.strerror(number))) is reason


def test_an_error_of_a_library_is_damage() -> None:
    assert reason_of(OSError("Couldn't deserialize thrift")) is Reason.UNREADABLE


def test_a_folder_that_must_not_be_entered_makes_its_files_unreachable(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    user = os.geteuid()
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    folder.chmod(0)
    if user == 0:
        os.seteuid(65534)  # the rights of the superuser have no limits
    try:
        with pytest.raises(InputError) as e:
            stat(str(folder / "a.txt"))
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
    assert e.value.reason is Reason.UNREACHABLE
    assert "Permission denied" in str(e.value)
