"""Atomic writes: a reader finds either the complete file or the previous one. Reads of regular files only."""

from __future__ import annotations

import errno
import json
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from schemas.checksums import append_checksum, check_appended, checksum
from schemas.errors import DatasetError, storage_errors

_CHECKSUM = "checksum"


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


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object with a checksum, atomically."""
    write_text(path, json_with_checksum(values))


def json_with_checksum(values: Mapping[str, Any]) -> str:
    """Return `values` as a JSON object with the additional field `checksum`, the hash of the other fields."""
    return json.dumps({**values, _CHECKSUM: checksum(json.dumps(values).encode())}, indent=1) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Return the values that `write_json` wrote.

    Raises FileNotFoundError if the file is missing, DatasetError if it is damaged or cannot be read.
    """
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as e:
        raise DatasetError(f"{path} is damaged: {e}") from e


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the values of the output of `json_with_checksum`; raises ValueError if it is anything else."""
    try:
        values: dict[str, Any] = json.loads(data)
        del values[_CHECKSUM]
        same = json_with_checksum(values).encode() == data
    except (TypeError, KeyError, RecursionError) as e:
        raise ValueError(f"it is not a JSON object with a checksum ({type(e).__name__})") from e
    if not same:
        raise ValueError("its checksum does not match")
    return values


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write an array as .npy, followed by a checksum, atomically; the file can be memory-mapped."""
    with atomic(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        append_checksum(temporary)


def read_array(path: Path) -> NDArray[Any]:
    """Map an array that `write_array` wrote into memory, read-only; raises DatasetError if the file is damaged."""
    check_appended(path)
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as e:
        raise DatasetError(f"{path} is not an array ({e}); run the same command again") from e
    return values


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
    what = "folder" if path.is_dir() else "FIFO, socket or device"
    raise OSError(errno.EINVAL, f"not a regular file but a {what}", str(path))
