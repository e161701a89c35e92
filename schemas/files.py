"""Atomic writes: a reader finds either the complete file or the previous one. Reads of regular files only."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DatasetError, storage_errors


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success, sync it to disk and rename it to `path`.

    On an error the temporary file is removed and `path` is unchanged. Raises StorageError if the disk is full or the
    folder is not writable.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as f:
                os.fsync(f.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write an array as .npy, atomically; the file can be memory-mapped."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def inside(folder: Path, name: str) -> Path:
    """Join a folder and a file name read from data; raises DatasetError if the path is outside of `folder`."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DatasetError(f"{folder}: the file name {name!r} points outside the folder")
    return folder / name


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises OSError for everything else that has a name: a folder, and a FIFO, socket or device, which could block for
    ever.
    """
    if stat.S_ISREG(path.stat().st_mode):  # opening a device can have effects
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # the file may have been replaced in between
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file but a folder, FIFO, socket or device", str(path))
