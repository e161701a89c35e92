"""A bucket as a store: the requests of a `Client`, tried again where they may pass."""

from __future__ import annotations

import errno
import hashlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BufferedReader
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, TypeVar

from schemas.errors import BucketError, Conflict, storage_errors
from schemas.storage.cache import cached
from schemas.storage.client import Client, Entry, Page, Uploaded
from schemas.storage.failures import Failure, Kind, RequestFailed, Requests
from schemas.storage.guards import check_guards
from schemas.storage.reader import RangedReader
from schemas.storage.store import ALWAYS, Condition, Stat, is_hidden

T = TypeVar("T")

_COPY_BYTES = 16 << 20  # of one request of a copy
_PARALLEL_DELETIONS = 8
_END = Entry("", 0)


class RemoteStore:
    """Implements `Store` for one bucket; `url` is its address, such as s3://bucket."""

    def __init__(self, url: str, client: Client) -> None:
        self._url, self._client = url, client
        self._requests = Requests(url, unreachable=client.unreachable, denied=client.denied)
        self._has_bucket = False

    def stat(self, key: str) -> Stat | None:
        """Return size and version; raises StorageError if the bucket does not exist."""
        found = self._requests.send(self._at(key), lambda _: self._client.head(key) if key else None)
        if found is None:
            self._require_bucket()
        return found

    def is_folder(self, key: str) -> bool:
        """Whether an object begins with the key and a slash."""
        return any(not _is_hidden_key(entry.key) for entry in self._entries(key))

    def read(self, key: str, *, limit: int | None) -> bytes:
        """Return the bytes of an object."""
        if limit == 0:
            return b""
        try:
            return self._get(key, 0, limit, None)
        except EOFError:  # a range of an empty object; without a limit, no range is asked for
            return b""

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return a range of the bytes of an object."""
        if length == 0:
            return b""
        data = self._get(key, start, length, None)
        if len(data) != length:
            raise EOFError(f"{self._at(key)} ends after {start + len(data):,} bytes, expected {start + length:,}")
        return data

    def open(self, key: str) -> BinaryIO:
        """Open the present version of an object."""
        found = self._existing(key)
        fetch = partial(self._range_of_version, key, found)
        return BufferedReader(RangedReader(fetch, found.size))

    def write(self, key: str, data: bytes, condition: Condition) -> str:
        """Send an object in one request."""
        url, mark = self._at(key), None if condition == ALWAYS else uuid.uuid4().hex
        sent = self._requests.send(url, partial(self._put_once, key, data, condition, mark))
        if not sent.is_intact and (found := self.stat(key)) is not None and found.version == sent.version:
            self._require_same(key, found, hashlib.sha256(data).hexdigest(), len(data))
        return sent.version

    @contextmanager
    def scratch(self, folder: str, name: str) -> Iterator[Path]:
        """Yield a path in the temporary folder."""
        del folder
        with tempfile.TemporaryDirectory(prefix="longreel-") as made:
            path = Path(made, name)
            with storage_errors(path):
                yield path

    def put(self, key: str, path: Path) -> None:
        """Upload a file, then read back its size and hash."""
        size = path.stat().st_size
        sent = self._change(key, lambda: self._client.upload(key, path))
        found = self.stat(key)
        if found is None or found.version != sent.version:
            check_guards(self._at(key))  # names the cause, if that is a lost lease
            raise Conflict(f"{self._at(key)} was replaced or deleted by another process while it was written")
        if not sent.is_intact or found.size != size:
            with path.open("rb") as file:
                self._require_same(key, found, hashlib.file_digest(file, "sha256").hexdigest(), size)

    def local(self, key: str) -> Path:
        """Return a copy in the cache."""
        found = self._existing(key)
        return cached(self._at(key), found, partial(self._download, key, found))

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names in a folder."""
        prefix = _prefix(folder)
        objects, folders = self._requests.send(self._at(folder), lambda _: self._client.children(prefix))
        for key in {*objects, *folders}:
            name = key[len(prefix) :]
            if name and not is_hidden(name):
                yield name

    def temporary(self, folder: str) -> Iterator[str]:
        """Yield nothing: temporary files are in the temporary folder."""
        del folder
        yield from ()

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield the keys and sizes below a folder; objects of no bytes that stand for a folder are left out."""
        for entry, following in pairwise(chain(self._entries(folder), [_END])):
            is_folder = entry.size == 0 and following.key.startswith(f"{entry.key}/")
            if not is_folder and not entry.key.endswith("/") and not _is_hidden_key(entry.key):
                yield entry.key, entry.size

    def delete(self, key: str) -> None:
        """Delete an object."""
        self._change(key, lambda: self._client.delete([key]))

    def delete_folder(self, folder: str) -> None:
        """Delete all objects below a folder, leases too."""
        keys, count = [entry.key for entry in self._entries(folder)], self._client.deleted_at_once
        batches = [keys[start : start + count] for start in range(0, len(keys), count)]
        with ThreadPoolExecutor(_PARALLEL_DELETIONS) as pool:
            list(pool.map(partial(self._delete, folder), batches))

    def _delete(self, folder: str, keys: list[str]) -> None:
        self._change(folder, lambda: self._client.delete(keys))

    def _change(self, key: str, request: Callable[[], T]) -> T:
        """Send a request that changes an object or folder, if that is permitted at each attempt."""
        url = self._at(key)

        def attempt(_: int) -> T:
            check_guards(url)
            return request()

        return self._requests.send(url, attempt)

    def _entries(self, folder: str) -> Iterator[Entry]:
        """Yield the objects below a folder, sorted. Pages are requested one by one, so that each can be repeated.

        Raises BucketError for a list that is not sorted, or does not go on after the previous page: it would not end.
        """
        prefix, after = _prefix(folder), ""
        has_more = True
        while has_more:
            entries, has_more = self._requests.send(self._at(folder), partial(self._page, prefix, after))
            for entry in entries:
                name = self._listed_name(entry, prefix, after)
                if entry.key != after:  # else a page repeats an object that stands for a folder
                    yield entry
                after = name

    def _listed_name(self, entry: Entry, prefix: str, after: str) -> str:
        """Return the name of an entry in the order of the list.

        That of an object that stands for a folder ends in a slash, which its key has lost.
        """
        for name in (entry.key, f"{entry.key}/"):
            if name > after and name.startswith(prefix):
                return name
        raise BucketError(
            f"{self._at(prefix)}: the store lists {entry.key!r} after {after!r}. Longreel needs a store that lists "
            "objects in the order of their names and continues after a given one"
        )

    def _page(self, prefix: str, after: str, _: int) -> Page:
        return self._client.page(prefix, after)

    def _get(self, key: str, start: int, length: int | None, version: str | None) -> bytes:
        try:
            data = self._requests.send(self._at(key), lambda _: self._client.get(key, start, length, version))
        except FileNotFoundError:
            self._require_bucket()
            raise
        if length is not None and len(data) > length:
            raise BucketError(f"{self._at(key)}: the store returned {len(data):,} bytes, {length:,} were asked for")
        return data

    def _require_bucket(self) -> None:
        """Raise StorageError if the bucket does not exist, which an answer about an object may not tell."""
        if not self._has_bucket:
            self._requests.send(self._url, lambda _: self._client.page("", ""))
            self._has_bucket = True

    def _range_of_version(self, key: str, found: Stat, start: int, length: int) -> bytes:
        """Return a range of the version that was found.

        The last range asks for one byte more, which an object of this size does not have: a copy of the first bytes of
        a larger one would be taken for the whole.
        """
        is_last = start + length == found.size
        try:
            data = self._get(key, start, length + is_last, found.version)
        except EOFError:  # where nothing follows
            data = b""
        except (Conflict, FileNotFoundError) as e:
            check_guards(self._at(key))  # names the cause, if that is a lost lease
            raise BucketError(f"{self._at(key)} was replaced while it was read; run the same command again") from e
        if len(data) > length:
            raise BucketError(
                f"{self._at(key)}: the store says that it has {found.size:,} bytes, and returns more; run the same "
                "command again, and report it to the store's operator if it happens again"
            )
        if len(data) != length:
            raise BucketError(f"{self._at(key)}: the store returned {len(data):,} bytes, expected {length:,}")
        return data

    def _put_once(self, key: str, data: bytes, condition: Condition, mark: str | None, attempt: int) -> Uploaded:
        check_guards(self._at(key))
        try:
            return self._client.put(key, data, condition, mark)
        except RequestFailed as e:
            # The answer to an earlier attempt may have been lost: then the object that is in the way is ours.
            if attempt and e.failure.kind is Kind.CONFLICT and (found := self._own(key, mark)) is not None:
                return found
            if e.failure.kind is Kind.ABSENT:  # there is nothing to replace
                raise RequestFailed(Failure(Kind.CONFLICT, e.failure.text)) from e
            raise

    def _own(self, key: str, mark: str | None) -> Uploaded | None:
        found = self._client.head(key)
        is_own = found is not None and self._client.mark(key) == mark
        return Uploaded(found.version, None) if found is not None and is_own else None

    def _require_same(self, key: str, found: Stat, sha256: str, size: int) -> None:
        """Read an object back; raise StorageError unless it is what was sent."""
        if found.size != size or self._sha256(key, found) != sha256:
            raise BucketError(
                f"{self._at(key)}: the store has not kept what was sent to it; run the same command again"
            )

    def _sha256(self, key: str, found: Stat) -> str:
        digest = hashlib.sha256()
        for data in self._blocks(key, found):
            digest.update(data)
        return digest.hexdigest()

    def _download(self, key: str, found: Stat, path: Path) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("wb") as file:
            for data in self._blocks(key, found):
                file.write(data)
                if found.md5:
                    digest.update(data)
        if found.md5 and digest.hexdigest() != found.md5:
            raise BucketError(f"{self._at(key)}: the bytes that the store returned do not have the hash that it names")

    def _blocks(self, key: str, found: Stat) -> Iterator[bytes]:
        """Yield the bytes of the version that was found."""
        for start in range(0, found.size, _COPY_BYTES):
            yield self._range_of_version(key, found, start, min(_COPY_BYTES, found.size - start))

    def _existing(self, key: str) -> Stat:
        if (found := self.stat(key)) is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", self._at(key))
        if found.size == 0:  # no range of it will be read, which would notice that it is not empty
            self._range_of_version(key, found, 0, 0)
        return found

    def _at(self, key: str) -> str:
        return f"{self._url}/{key}" if key else self._url


def _prefix(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _is_hidden_key(key: str) -> bool:
    return is_hidden(key.rpartition("/")[2])
