"""The file system as a store. A reader finds either the complete file or the previous one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from schemas.errors import Conflict, storage_errors
from schemas.storage.regular import open_regular, regular_descriptor
from schemas.storage.replaceable import copy_to_standard_output, is_standard_output, require_replaceable
from schemas.storage.store import Condition, Stat, is_hidden, is_temporary


class LocalStore:
    """Implements `Store`; keys are absolute paths. Objects are regular files and links to them.

    Of /dev/stdout only `write` without a condition and `put` are useful: they copy the file to standard output.
    """

    def stat(self, key: str) -> Stat | None:
        """Return facts about a file; None if there is none."""
        try:
            status = Path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if stat.S_ISDIR(status.st_mode) else _stat_of(status)

    def is_folder(self, key: str) -> bool:
        """Whether a folder contains anything."""
        return any(True for _ in self.names(key))

    def read(self, key: str, *, limit: int | None) -> bytes:
        """Return the bytes of a file."""
        with self.open(key) as file:
            return file.read() if limit is None else file.read(limit)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return a range of the bytes of a file."""
        with _absent_below_a_file(key):
            descriptor = regular_descriptor(key)
        try:
            data = os.pread(descriptor, length, start)
        finally:
            os.close(descriptor)
        if len(data) != length:
            raise EOFError(f"{key} ends after {start + len(data):,} bytes, expected {start + length:,}")
        return data

    def open(self, key: str) -> BinaryIO:
        """Open a file."""
        with _absent_below_a_file(key):
            return open_regular(key)

    def write(self, key: str, data: bytes, condition: Condition) -> str:
        """Write a file under a temporary name, sync it to disk and rename it."""
        folder, _, name = key.rpartition("/")
        with self.scratch(folder, name) as temporary:
            temporary.write_bytes(data)
            if condition.if_absent:
                require_replaceable(key)
                _create(temporary, Path(key))
            elif condition.if_version is not None:
                _replace(temporary, Path(key), condition.if_version)
            else:
                self.put(key, temporary)
            return _stat_of(Path(key).stat()).version

    @contextmanager
    def scratch(self, folder: str, name: str) -> Iterator[Path]:
        """Yield a temporary path in the folder itself, which is made: files are renamed from there."""
        path = Path(folder, name)
        if is_standard_output(path):
            folder, name = tempfile.gettempdir(), "output"
        else:
            require_replaceable(path)  # before the work, and again by `put`
        temporary = Path(folder, f".{name}.{uuid.uuid4().hex[:8]}.tmp")
        with storage_errors(path):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)

    def put(self, key: str, path: Path) -> None:
        """Sync the file to disk and rename it."""
        if is_standard_output(key):
            copy_to_standard_output(path)
            return
        require_replaceable(key)
        _sync(path)
        path.replace(key)

    def local(self, key: str) -> Path:
        """Return the path of the file."""
        return Path(key)

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names in a folder."""
        yield from (name for name in _names(folder) if not is_hidden(name))

    def temporary(self, folder: str) -> Iterator[str]:
        """Yield the names of files that `scratch` made."""
        yield from filter(is_temporary, _names(folder))

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield the paths of all files below a folder; links to folders are not followed."""
        try:
            with os.scandir(folder) as entries:
                found = [(e.name + "/" * e.is_dir(follow_symlinks=False), e) for e in entries]
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, entry in sorted(found, key=lambda pair: pair[0]):  # "a.b" comes before "a/b", as among keys
            if name.endswith("/"):
                yield from self.walk(entry.path)
            elif entry.is_file() and not is_hidden(name):
                yield entry.path, entry.stat().st_size

    def delete(self, key: str) -> None:
        """Delete a file."""
        with storage_errors(Path(key)):
            Path(key).unlink(missing_ok=True)

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with all that it contains."""
        with storage_errors(Path(folder)):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                if Path(folder).exists():  # another process deleted one of its files at the same time
                    raise


@contextmanager
def _absent_below_a_file(key: str) -> Iterator[None]:
    """Raise FileNotFoundError where a file is in place of a folder above `key`, which `stat` finds absent, too."""
    try:
        yield
    except NotADirectoryError as e:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key) from e


def _names(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return


def _stat_of(status: os.stat_result) -> Stat:
    return Stat(status.st_size, f"{status.st_mtime_ns}-{status.st_ino}-{status.st_size}")


def _sync(path: Path) -> None:
    with FileIO(str(path)) as file:
        os.fsync(file.fileno())


def _create(temporary: Path, path: Path) -> None:
    """Give a file its name if the name is free."""
    _sync(temporary)
    try:
        path.hardlink_to(temporary)
    except FileExistsError as e:
        raise Conflict(f"{path} exists already") from e
    except OSError:  # a file system without hard links
        with _locked(path.parent):
            if path.exists():
                raise Conflict(f"{path} exists already") from None
            temporary.replace(path)


def _replace(temporary: Path, path: Path, version: str) -> None:
    """Replace a file that has this version."""
    with _locked(path.parent):
        try:
            old = path.stat()
        except FileNotFoundError as e:
            raise Conflict(f"{path} was deleted by another process") from e
        if _stat_of(old).version != version:
            raise Conflict(f"{path} was changed by another process")
        new = temporary.stat()
        if new.st_mtime_ns <= old.st_mtime_ns:  # so that no two versions are equal, however fast they follow
            os.utime(temporary, ns=(new.st_atime_ns, old.st_mtime_ns + 1))
        _sync(temporary)
        temporary.replace(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Exclude other writers that set a condition; does nothing on a file system without locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
