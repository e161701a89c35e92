"""What a kind of remote store implements: single requests, without retries. `remote.RemoteStore` does the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from schemas.storage.store import Condition, Stat

LIST_LIMIT_S = 300.0  # of the parts of one list, which a store could continue without end


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing."""

    key: str
    size: int


class Page(NamedTuple):
    """A part of a listing, and whether there may be more."""

    entries: Sequence[Entry]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What a store says about an object that it received."""

    version: str
    is_intact: bool | None  # whether its hash is that of the bytes that were sent; None: the store does not tell


class Client(Protocol):
    """Requests to one bucket. All raise `failures.RequestFailed`; safe to use from several threads."""

    deleted_at_once: int  # how many objects one request can delete
    unreachable: str  # what to check if the store cannot be reached
    denied: str  # what to check if access is denied

    def head(self, key: str) -> Stat | None:
        """Return facts about an object; None if there is none."""
        ...

    def get(self, key: str, start: int, length: int | None, version: str | None) -> bytes:
        """Return bytes from `start` on, `length` of them or fewer at the end, of a version or of any."""
        ...

    def put(self, key: str, data: bytes, condition: Condition, mark: str | None) -> Uploaded:
        """Write an object with `mark` in its metadata."""
        ...

    def mark(self, key: str) -> str | None:
        """Return the mark of an object."""
        ...

    def upload(self, key: str, path: Path) -> Uploaded:
        """Write a file of any size; the object appears as a whole."""
        ...

    def children(self, prefix: str) -> tuple[Sequence[str], Sequence[str]]:
        """Return the keys of the objects and of the folders, without a slash at the end, directly below a prefix."""
        ...

    def page(self, prefix: str, after: str) -> Page:
        """Return the first objects, up to about 1,000, whose keys begin with a prefix and follow `after`, sorted."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete up to `deleted_at_once` objects; those that do not exist are no error."""
        ...


def md5(data: bytes) -> str:
    """Return the MD5 of data as hex digits, by which stores report what they received."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5_of_file(path: Path) -> str:
    """Return the MD5 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
