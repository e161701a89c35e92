"""Excludes other commands from an output folder while one writes to it; the operating system ends it with the process.

A workspace has a lock of its own (`schemas.storage.lease`), and so has a training run, whose file stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import LeaseHeld, storage_errors
from schemas.storage.regular import open_appending

LOCK = "command.lock"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and keep the file LOCK in it locked while the body runs, after which the file is deleted.

    The folder is deleted again if it was made and nothing was written.
    Raises LeaseHeld if another command has locked it.
    """
    path, is_new = folder / LOCK, not folder.exists()
    with storage_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = open_appending(path)
    with file:
        if not take_lock(file.fileno()) or not _is_at(file.fileno(), path):
            message = "is in use by another longreel command; wait until it ends, or choose another --out"
            raise LeaseHeld(f"{folder} {message}")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if is_new:
                with contextlib.suppress(OSError):  # something was written
                    folder.rmdir()


def take_lock(descriptor: int) -> bool:
    """Lock an open file; return False if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: the user has to start one command at a time
        return True
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file is still the one with this name: the command that had locked it may have deleted it."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
