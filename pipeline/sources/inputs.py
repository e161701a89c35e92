"""Opens inputs by URI: local files directly, remote ones (s3://, gs://, https://) through fsspec as a local copy.

Decoders need a seekable file, so a remote input is first copied to a temporary file, within a size limit. A row of a
table of texts (pipeline.sources.text_tables) is written to a temporary file as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import fsspec

from pipeline.sources.text_tables import parse_row_uri, read_text
from schemas.deadline import checked
from schemas.errors import InputError, Reason, storage_errors
from schemas.fingerprint import sha256_file
from schemas.record_errors import brief, record_errors

MAX_BYTES = 64 << 30  # default limit of an item
_BLOCK_BYTES = 8 << 20


class Stat(NamedTuple):
    """Size and version of an input, which detect a change without reading it."""

    size_bytes: int
    version: str  # modification time, or the remote store's own tag


def stat(uri: str) -> Stat:
    """Return the size and version of an input; for a row, those of its table.

    Raises InputError: MISSING if there is no file at `uri`, UNREADABLE if it is not a regular file, UNREACHABLE if
    that cannot be told.
    """
    if row := parse_row_uri(uri):
        return stat(row.table)
    with _reaching(uri):
        return _local_stat(uri) if "://" not in uri else _remote_stat(uri)


@contextmanager
def _reaching(uri: str) -> Iterator[None]:
    """Raise InputError MISSING or UNREACHABLE for an exception of the file system of `uri`."""
    try:
        with record_errors(uri):
            yield
    except InputError as e:
        if e.__cause__ is None or e.reason is Reason.FAILED:
            raise
        if isinstance(e.__cause__, FileNotFoundError | NotADirectoryError):
            raise InputError(Reason.MISSING, f"{uri}: not found: {brief(e.__cause__)}") from e
        if "://" not in uri and not isinstance(e.__cause__, OSError):
            raise  # no path at all, such as one with a NUL
        raise InputError(Reason.UNREACHABLE, str(e)) from e


def _local_stat(path: str) -> Stat:
    status = Path(path).stat()
    if not S_ISREG(status.st_mode):
        raise _not_regular(path)
    return Stat(status.st_size, str(status.st_mtime_ns))


def _remote_stat(uri: str) -> Stat:
    filesystem, path = fsspec.core.url_to_fs(uri)
    info = filesystem.info(path)
    if info.get("type", "file") != "file":
        raise _not_regular(uri)
    tag = next((str(info[k]) for k in ("ETag", "etag", "md5Hash", "mtime", "LastModified") if info.get(k)), "")
    return Stat(int(info["size"] or 0), tag)


def _not_regular(uri: str) -> InputError:
    return InputError(Reason.UNREADABLE, f"{uri}: not a file but a folder, FIFO, socket or device")


def require_same(path: Path, sha256: str | None, uri: str) -> None:
    """Raise InputError CHANGED unless a local file, of the input `uri`, has the SHA-256 that the survey recorded."""
    if sha256_file(path) != sha256:
        raise InputError(Reason.CHANGED, f"{uri} has changed since the survey; survey it again")


@contextmanager
def local_file(uri: str, *, max_bytes: int = MAX_BYTES) -> Iterator[Path]:
    """Return a context manager with a local path to the content of `uri`; a temporary copy is removed at its end.

    Raises InputError: as `stat`, UNREACHABLE if it cannot be read in full, TOO_LARGE beyond `max_bytes`; StorageError
    if the disk is full.
    """
    size, version = stat(uri)
    if row := parse_row_uri(uri):
        with tempfile.TemporaryDirectory(prefix="longreel-") as folder:
            yield _written(read_text(row, max_bytes, version), Path(folder, "row.txt"))
        return
    if size > max_bytes:
        raise InputError(Reason.TOO_LARGE, f"{uri}: {size:,} bytes, the limit is {max_bytes:,} (max-bytes)")
    if "://" not in uri:
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="longreel-") as folder:
        copy = Path(folder, "input" + Path(uri).suffix)
        _copy(uri, copy, max_bytes)
        if (copied := copy.stat().st_size) < size:
            raise InputError(Reason.UNREACHABLE, f"{uri}: the transfer ended after {copied:,} of {size:,} bytes")
        yield copy


def _written(text: str, path: Path) -> Path:
    try:
        data = text.encode()
    except UnicodeEncodeError as e:
        raise InputError(Reason.NOT_TEXT, "the row's text contains an unpaired surrogate") from e
    with storage_errors(path):
        path.write_bytes(data)
    return path


def _copy(uri: str, copy: Path, max_bytes: int) -> None:
    with storage_errors(copy), copy.open("wb") as target:  # a full disk is not an error of the input
        for block in checked(_blocks(uri), every=1):
            target.write(block)
            if target.tell() > max_bytes:
                raise InputError(Reason.TOO_LARGE, f"{uri}: longer than the limit of {max_bytes:,} bytes (max-bytes)")


def _blocks(uri: str) -> Iterator[bytes]:
    with _reaching(uri), fsspec.open(uri, "rb") as source:
        while block := source.read(_BLOCK_BYTES):
            yield block
