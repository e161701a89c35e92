"""Opens inputs by URI: local files directly, remote ones (s3://, gs://, https://) as a local copy.

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

from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.os_errors import reason_of
from pipeline.sources.pinned import pinned_file
from pipeline.sources.text_tables import parse_row_uri, read_text
from schemas.errors import InputError, Reason, storage_errors
from schemas.fingerprint import sha256_file
from schemas.record_errors import record_errors

MAX_BYTES = 64 << 30  # default limit of an item


class Stat(NamedTuple):
    """Size and version of an input, which detect a change without reading it."""

    size_bytes: int
    version: str  # modification time, or the remote store's own tag


def stat(uri: str, access: AccessConfig = STRICT) -> Stat:
    """Return the size and version of an input; for a row, those of its table.

    Raises InputError: MISSING if there is no file at `uri`, UNREACHABLE if that cannot be found out now, NOT_ALLOWED.
    """
    if row := parse_row_uri(uri):
        return stat(row.table, access)
    if "://" in uri:
        from pipeline.sources.remote import remote_stat  # imports aiohttp, which takes longer than most of the rest

        size, version = remote_stat(uri, access)
        return Stat(size or 0, version)
    try:
        status = Path(uri).stat()
    except ValueError as e:  # a NUL in the path
        raise InputError(Reason.MISSING, f"{uri}: {e}") from e
    except OSError as e:
        raise InputError(reason_of(e), f"{uri}: {e.strerror}") from e
    if not S_ISREG(status.st_mode):
        raise InputError(Reason.UNREADABLE, f"{uri}: not a file but a folder, FIFO, socket or device")
    return Stat(status.st_size, str(status.st_mtime_ns))


def hash_input(path: Path, uri: str) -> str:
    """Return the SHA-256 of a local file, of the input `uri`; raises InputError if it cannot be read."""
    try:
        return sha256_file(path)
    except OSError as e:
        raise InputError(reason_of(e), f"{uri}: {e.strerror or e}") from e


def require_same(path: Path, sha256: str | None, uri: str) -> None:
    """Raise InputError CHANGED unless a local file, of the input `uri`, has the SHA-256 that the survey recorded."""
    if hash_input(path, uri) != sha256:
        raise InputError(Reason.CHANGED, f"{uri} has changed since the survey; survey it again")


@contextmanager
def local_file(uri: str, *, max_bytes: int = MAX_BYTES, access: AccessConfig = STRICT) -> Iterator[Path]:
    """Return a context manager with a local path to the content of `uri`; a temporary copy is removed at its end.

    Raises InputError as `stat` does, and TOO_LARGE beyond `max_bytes`; StorageError if the disk is full.
    """
    size, version = stat(uri, access)
    if row := parse_row_uri(uri):
        with (
            tempfile.TemporaryDirectory(prefix="longreel-") as folder,
            _named_after(uri, Path(folder, "row.txt")) as copy,
        ):
            yield _written(read_text(row, max_bytes, version, access), copy)
        return
    if size > max_bytes:
        raise InputError(Reason.TOO_LARGE, f"{uri}: {size:,} bytes, the limit is {max_bytes:,} (max-bytes)")
    if "://" not in uri:
        with pinned_file(uri, access) as path, _named_after(uri, path):
            yield path
        return
    with tempfile.TemporaryDirectory(prefix="longreel-") as folder:
        copy = Path(folder, "input" + Path(uri).suffix)
        from pipeline.sources.remote import copy_remote

        copy_remote(uri, access, copy, max_bytes=max_bytes)
        with _named_after(uri, copy):
            yield copy


@contextmanager
def _named_after(uri: str, copy: Path) -> Iterator[Path]:
    """Name `uri` in the errors of the body instead of its temporary copy, whose path is another one in every run."""
    try:
        with record_errors(uri):
            yield copy
    except InputError as e:
        raise InputError(e.reason, str(e).replace(str(copy), uri)) from e


def _written(text: str, path: Path) -> Path:
    try:
        data = text.encode()
    except UnicodeEncodeError as e:
        raise InputError(Reason.NOT_TEXT, "the row's text contains an unpaired surrogate") from e
    with storage_errors(path):
        path.write_bytes(data)
    return path
