"""Which names a file may take: writing renames a new file to the name, which removes whatever had it before.

Renaming succeeds over a FIFO, a socket, a device and a link such as /dev/stdout, and then they are gone. A link to a
file is replaced by the new file; what it leads to stays as it is.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

from schemas.errors import StorageError

_SYSTEM = ("/dev", "/proc", "/sys")
_SHARED_MEMORY = "/dev/shm"
_STANDARD_OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def is_standard_output(path: str | Path) -> bool:
    """Whether a path names the standard output of this process, to which files are copied."""
    return str(path) in _STANDARD_OUTPUT


def copy_to_standard_output(path: Path) -> None:
    """Write the bytes of a file to the standard output of this process."""
    sys.stdout.flush()
    with path.open("rb") as file, os.fdopen(os.dup(1), "wb") as output:
        shutil.copyfileobj(file, output)


def require_replaceable(path: str | Path) -> None:
    """Raise StorageError unless `path` names nothing, or a regular file, so that a new file may take its name."""
    path = Path(path)
    if problem := _problem(path):
        raise StorageError(f"cannot write {path}: {problem}; move it away, or choose another place")


def require_folder(path: str | Path) -> None:
    """Raise StorageError unless `path` names a folder or nothing, in folders or in what can become one."""
    path = Path(path)
    for place in (path, *path.parents):
        try:
            status = place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(status.st_mode):
            return
        what = "file" if stat.S_ISREG(status.st_mode) else "FIFO, socket or device"
        raise StorageError(
            f"cannot write to the folder {path}: {place} is a {what}; move it away, or choose another place"
        )


def special_file(path: str | Path) -> str | None:
    """Return what `path` is in words, if it is neither a file nor a folder, and not absent."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - also for paths with a NUL, which have no file
    except (OSError, ValueError):
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "a FIFO, socket or device"


def _problem(path: Path) -> str | None:
    """Return what is in the way of a file with this name."""
    if path.is_dir():
        return "a folder has this name"
    if what := special_file(path):
        return f"it is {what}"
    folder = os.path.realpath(path.parent)
    inside = any(folder == top or folder.startswith(f"{top}/") for top in _SYSTEM)
    if inside and not (folder == _SHARED_MEMORY or folder.startswith(f"{_SHARED_MEMORY}/")):
        return f"{folder} holds devices and what the kernel shows, not files"
    return None
