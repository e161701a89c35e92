"""Replaces a directory by another one, so that a reader finds either the old or the new one complete.

Linux exchanges two directories in one step. Where the file system cannot (NFS), three renames do it; a kill between
them leaves no directory under the name until `recover` is called.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from schemas.dataset import CARD
from schemas.errors import storage_errors

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # <fcntl.h>, <linux/fs.h>


def staging_of(directory: Path) -> Path:
    """Return the folder in which a replacement of `directory` is made, next to it on the same file system."""
    return directory.with_name(f".{directory.name}.removal")


def aside_of(directory: Path) -> Path:
    """Return the name of the old directory between the renames."""
    return directory.with_name(f".{directory.name}.replaced")


def exchange(directory: Path) -> None:
    """Exchange `directory` and its complete replacement."""
    staging, aside = staging_of(directory), aside_of(directory)
    with storage_errors(directory):
        if not _exchange_at_once(directory, staging):
            directory.rename(aside)
            staging.rename(directory)
            aside.rename(staging)


def recover(directory: Path) -> None:
    """Complete or undo an exchange that was killed, and delete the directories that are left."""
    staging, aside = staging_of(directory), aside_of(directory)
    with storage_errors(directory):
        if not directory.exists():
            complete = [folder for folder in (staging, aside) if (folder / CARD).is_file()]
            if complete:
                complete[0].rename(directory)
        for folder in (staging, aside):
            if folder.is_dir():
                shutil.rmtree(folder)


def unfinished_exchanges(parent: Path) -> list[Path]:
    """Return the directories below `parent` whose exchange was killed."""
    names = (
        path.name.removeprefix(".").removesuffix(suffix)
        for suffix in (".removal", ".replaced")
        for path in parent.glob(f".*{suffix}")
    )
    return [parent / name for name in sorted(set(names))]


def _exchange_at_once(one: Path, other: Path) -> bool:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = (os.fsencode(one), os.fsencode(other))
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)
