"""A file or folder in a store: the one way to address, read and write what Longreel stores."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from schemas.errors import ConfigError
from schemas.storage.buckets import BUCKETS
from schemas.storage.local import LocalStore
from schemas.storage.store import Condition, Stat, Store

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
LOCAL = "file"


@dataclass(frozen=True, order=True, slots=True)
class Location:
    """A file or folder. Making one reads nothing; `str` is its URL or absolute local path. Made by `parse`.

    Reading raises FileNotFoundError for an object that does not exist, and OSError or StorageError if the store cannot
    be read; writing raises StorageError. Writing makes the folders above.
    """

    scheme: str
    bucket: str  # "" for a local file
    key: str  # absolute path of a local file

    @classmethod
    def parse(cls, text: str | Path) -> Location:
        """Return the location of a URL or a path, which is made absolute; links are not resolved.

        Raises ConfigError for an unknown scheme or an invalid bucket.
        """
        url = _URL.fullmatch(text) if isinstance(text, str) else None
        if url is None:
            path = Path(text)
            return cls(LOCAL, "", str(path if path.is_absolute() else path.absolute()))
        scheme, rest = url["scheme"].lower(), url["rest"]
        if scheme == LOCAL:
            return cls(LOCAL, "", str(Path("/" + rest.removeprefix("localhost").lstrip("/"))))
        if scheme not in BUCKETS:
            known = ", ".join(f"{name}://" for name in (LOCAL, *BUCKETS))
            raise ConfigError(f"unknown scheme {scheme}:// of a location; known are {known}, and local paths")
        bucket, _, key = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):  # it is not shown, as it may contain a password
            raise ConfigError(
                f"{scheme}:// must be followed by the name of a bucket, as in {scheme}://my-bucket/folder; credentials "
                "are not part of an address"
            )
        return cls(scheme, bucket, key.rstrip("/"))

    def __str__(self) -> str:
        return self.key if self.scheme == LOCAL else f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"

    def __truediv__(self, name: str) -> Location:
        key = f"{self.key.rstrip('/')}/{name}" if self.key else name
        return Location(self.scheme, self.bucket, key)

    @property
    def is_local(self) -> bool:
        """Whether it is in the file system."""
        return self.scheme == LOCAL

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The extension of the name, with its point; "" if there is none."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Location:
        """The folder that contains it; of a bucket, the bucket."""
        above = self.key.rpartition("/")[0]
        return Location(self.scheme, self.bucket, above or ("/" if self.is_local else ""))

    def with_name(self, name: str) -> Location:
        """Return the location with this name in the same folder."""
        return self.parent / name

    def is_relative_to(self, folder: Location) -> bool:
        """Whether it is `folder` or below it."""
        if (self.scheme, self.bucket) != (folder.scheme, folder.bucket):
            return False
        return self.key == folder.key or self.key.startswith(folder._prefix)

    def relative_to(self, folder: Location) -> str:
        """Return the part of the key below `folder`, "." for `folder` itself; raises ValueError if it is not below."""
        if not self.is_relative_to(folder):
            raise ValueError(f"{self} is not in {folder}")
        return self.key[len(folder._prefix) :] or "."

    def inside(self, name: str) -> Location | None:
        """Return the location `name` below this one; None if the name leads out, lexically."""
        normal = posixpath.normpath(name)
        leads_out = normal == ".." or normal.startswith(("/", "../")) or "\0" in name
        return None if leads_out else self / normal

    def stat(self) -> Stat | None:
        """Return size and version of an object; None if there is none: for a folder, too."""
        return self._store.stat(self.key)

    def exists(self) -> bool:
        """Whether there is an object, or a folder that contains anything."""
        return self._store.stat(self.key) is not None or self.is_folder()

    def is_folder(self) -> bool:
        """Whether it is a folder that contains anything."""
        return self._store.is_folder(self.key)

    def read(self, *, limit: int | None = None) -> bytes:
        """Return the bytes of an object, or the first `limit` of them; raises FileNotFoundError."""
        return self._store.read(self.key, limit=limit)

    def read_range(self, start: int, length: int) -> bytes:
        """Return bytes [start, start + length); raises EOFError if the object is shorter, and FileNotFoundError."""
        return self._store.read_range(self.key, start, length)

    def open(self) -> BinaryIO:
        """Open an object for reading: a seekable stream; raises FileNotFoundError."""
        return self._store.open(self.key)

    def write(self, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        """Write an object, which appears as a whole or not at all, and return its version.

        Raises Conflict if `if_absent` and it exists, or if its version is not `if_version`.
        """
        return self._store.write(self.key, data, Condition(if_absent=if_absent, if_version=if_version))

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Yield the path of a local file to be written; on success it becomes the object.

        On an error the object is unchanged. Raises StorageError if the disk is full or the folder is not writable.
        """
        with self.parent.scratch(self.name) as path:
            yield path
            self.put(path)

    @contextmanager
    def scratch(self, name: str = "scratch") -> Iterator[Path]:
        """Yield the path of a temporary local file, which `put` of a location in this folder can publish.

        It is deleted at the end. For objects that are named after their content.
        """
        with self._store.scratch(self.key, name) as path:
            yield path

    def put(self, path: Path) -> None:
        """Make a temporary file of `scratch` the object, as a whole; the file may be moved."""
        self._store.put(self.key, path)

    def local(self) -> Path:
        """Return a local file with the bytes of the object, to be mapped into memory: itself, or a cached copy.

        Raises FileNotFoundError for a remote object that does not exist.
        """
        return self._store.local(self.key)

    def temporary(self) -> list[Location]:
        """Return the temporary files in this folder, which killed processes left, sorted; a bucket has none."""
        return sorted(self / name for name in self._store.temporary(self.key))

    def list(self, pattern: str = "*") -> list[Location]:
        """Return the objects and folders in this folder whose names match, sorted; temporary files are left out."""
        return sorted(self / name for name in self._store.names(self.key) if fnmatchcase(name, pattern))

    def walk(self) -> Iterator[Location]:
        """Yield all objects below this folder, sorted; temporary files are left out."""
        yield from (location for location, _ in self.sizes())

    def sizes(self) -> Iterator[tuple[Location, int]]:
        """Yield all objects below this folder with their sizes, sorted; temporary files are left out."""
        for key, size in self._store.walk(self.key):
            yield Location(self.scheme, self.bucket, key), size

    def delete(self) -> None:
        """Delete the object, if there is one."""
        self._store.delete(self.key)

    def delete_folder(self) -> None:
        """Delete all objects below this folder, if there are any."""
        self._store.delete_folder(self.key)

    @property
    def _prefix(self) -> str:
        return self.key if not self.key or self.key.endswith("/") else self.key + "/"

    @property
    def _store(self) -> Store:
        return _store_of(self.scheme, self.bucket)


def located(place: Location | Path) -> Location:
    """Return a path as a location, and a location as it is."""
    return place if isinstance(place, Location) else Location.parse(place)


@functools.cache
def _store_of(scheme: str, bucket: str) -> Store:
    """Return the store of a bucket, one a process."""
    return LocalStore() if scheme == LOCAL else BUCKETS[scheme](bucket)


os.register_at_fork(after_in_child=_store_of.cache_clear)  # connections belong to one process
