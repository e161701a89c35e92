"""What a kind of storage implements, and the values that its methods take and return."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp", re.DOTALL)
_LEASE = re.compile(r"\..*\.lease", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stat:
    """Facts about an object: size in bytes, a version that is another one after each change, MD5 if known."""

    size: int
    version: str
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """When an object is written: always, only if there is none, or only if it has this version."""

    if_absent: bool = False
    if_version: str | None = None


ALWAYS = Condition()


class Store(Protocol):
    """A flat collection of objects. Keys are names that `/` divides; of the file system, absolute paths.

    A *folder* is what objects with a common prefix up to a `/` have in common; it exists if there is one.
    """

    def stat(self, key: str) -> Stat | None:
        """Return facts about an object, None if there is none."""
        ...

    def is_folder(self, key: str) -> bool:
        """Whether objects are in a folder."""
        ...

    def read(self, key: str, *, limit: int | None) -> bytes:
        """Return the bytes of an object, the first `limit` of them; raises FileNotFoundError."""
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes [start, start + length) of an object; raises EOFError if it is shorter, FileNotFoundError."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Return a seekable stream of an object; raises FileNotFoundError."""
        ...

    def write(self, key: str, data: bytes, condition: Condition) -> str:
        """Write a whole object and return its version; raises Conflict."""
        ...

    def scratch(self, folder: str, name: str) -> AbstractContextManager[Path]:
        """Yield the path of a temporary local file from which `put` can make an object of `folder`."""
        ...

    def put(self, key: str, path: Path) -> None:
        """Make an object of a local file of `scratch`, which may be moved."""
        ...

    def local(self, key: str) -> Path:
        """Return a local file with the bytes of an object; raises FileNotFoundError."""
        ...

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of the objects and folders in a folder, in no particular order."""
        ...

    def temporary(self, folder: str) -> Iterator[str]:
        """Yield the names of the temporary files in a folder."""
        ...

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield the keys and sizes of all objects below a folder in the order of the keys."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        ...

    def delete_folder(self, folder: str) -> None:
        """Delete all objects below a folder, if there are any."""
        ...


def is_temporary(name: str) -> bool:
    """Whether a name is that of a temporary file, which a killed process leaves."""
    return _TEMPORARY.fullmatch(name) is not None


def is_lease(name: str) -> bool:
    """Whether a name is that of a lease (`schemas.storage.lease`)."""
    return _LEASE.fullmatch(name) is not None


def is_hidden(name: str) -> bool:
    """Whether a name is that of a temporary file or a lease, which no list contains."""
    return name.startswith(".") and (is_temporary(name) or is_lease(name))
