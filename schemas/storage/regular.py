"""Opens regular files only: opening a FIFO waits for the other side, for ever if there is none; a device has no end."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from io import BufferedReader, BufferedWriter, FileIO
from pathlib import Path
from typing import BinaryIO


class NotRegular(OSError):
    """A folder, FIFO, socket or device is where a regular file is expected."""

    def __str__(self) -> str:
        return f"{self.filename} is {self.strerror}"


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises OSError for everything else that has a name: a folder, and a FIFO, socket or device, which could block for
    ever.
    """
    return BufferedReader(FileIO(regular_descriptor(path)))  # takes half the time of Path.open


def regular_descriptor(path: str | Path, *, was_regular: bool = False) -> int:
    """Open a regular file for reading, and return its descriptor; raises OSError as `open_regular` does.

    `was_regular` says that the caller has seen a regular file there, which saves a call of the system.
    """
    if not was_regular:
        require_regular(path)  # opening a device can have effects
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require(os.fstat(descriptor), path)  # the file may have been replaced in between
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_appending(path: str | Path) -> BinaryIO:
    """Open a regular file to append to it; it is made if there is none.

    Raises OSError as `open_regular` does, and for a link, which could lead to a file of somebody else.
    """
    with contextlib.suppress(FileNotFoundError):
        _require(os.lstat(path), path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        _require(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return BufferedWriter(FileIO(descriptor, "a"))


def require_regular(path: str | Path) -> None:
    """Raise OSError as `open_regular` does, before a library opens a file by its path."""
    _require(os.stat(path), path)  # noqa: PTH116 - takes half the time of Path.stat


def _require(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        names = {stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
        what = names.get(stat.S_IFMT(status.st_mode), "FIFO, socket or device")
        raise NotRegular(errno.EINVAL, f"not a regular file but a {what}", str(path))
