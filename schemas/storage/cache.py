"""Local copies of remote objects, to be mapped into memory: a bounded cache in the temporary folder.

A copy is filled under another name and renamed, by one process at a time. The copies that were not used for longest are
deleted when all together exceed the limit: half of the file system, or LONGREEL_CACHE_BYTES. A file that is open or
mapped stays readable when it is deleted; one that was just asked for is not deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConfigError, StorageError, storage_errors
from schemas.storage.store import Stat

_LIMIT = "LONGREEL_CACHE_BYTES"
_IN_USE_S = 60.0  # between being asked for and being opened
_KEPT_S = 86_400.0  # locks, and what a killed process left


def cached(url: str, found: Stat, download: Callable[[Path], None]) -> Path:
    """Return a local copy of a version of an object; `download` writes it if there is none."""
    folder = cache_folder()
    copy = folder / hashlib.sha256(f"{url}\0{found.version}\0{found.size}".encode()).hexdigest()[:32]
    if _is_used(copy, found.size):
        return copy
    with storage_errors(copy), _lock(copy.with_suffix(".lock")):
        if not _is_used(copy, found.size):  # another process was faster
            temporary = copy.with_suffix(f".{os.getpid()}.tmp")
            try:
                download(temporary)
                temporary.chmod(0o400)
                temporary.replace(copy)
            finally:
                temporary.unlink(missing_ok=True)
    _evict(folder, keep=copy)
    return copy


def cache_folder() -> Path:
    """Return the folder of the cache, which only this user may read; raises StorageError if it is somebody else's."""
    folder = Path(tempfile.gettempdir(), f"longreel-cache-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StorageError(f"{folder} belongs to another user or is open to others; delete it, or set TMPDIR")
    return folder


def _is_used(copy: Path, size: int) -> bool:
    """Whether there is a copy; it counts as used now."""
    try:
        os.utime(copy)
        return copy.stat().st_size == size
    except FileNotFoundError:
        return False


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        with contextlib.suppress(OSError):  # without locks, two processes fill the same copy
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _evict(folder: Path, *, keep: Path) -> None:
    """Delete copies until the others fit."""
    limit = _limit(folder)
    total = 0
    for age_s, size, path in sorted(_files(folder, now=time.time())):
        total += size
        is_old = age_s > (_KEPT_S if path.suffix else _IN_USE_S)
        if path != keep and is_old and (path.suffix or total > limit):
            path.unlink(missing_ok=True)


def _limit(folder: Path) -> int:
    given = os.environ.get(_LIMIT)
    if given and not given.isdecimal():
        raise ConfigError(f"{_LIMIT} must be a number of bytes, got {given!r}")
    return int(given) if given else shutil.disk_usage(folder).total // 2


def _files(folder: Path, *, now: float) -> Iterator[tuple[float, int, Path]]:
    """Yield files with the seconds since they were used; of a time in the future, before the clock was set, many."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process deletes, too
            status = path.stat()
            age_s = now - status.st_mtime
            yield age_s if age_s > -_IN_USE_S else math.inf, status.st_size, path
