"""Inputs by address: a local path as it is, anything else (s3://, gs://, https://) through fsspec as a local copy.

Decoders need a seekable file, so a remote input is copied to a temporary file first, within a size limit; and so is a
text that is a row of a table (pipeline.sources.text_tables).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import fsspec

from pipeline.sources.text_tables import place_of, read_text
from schemas.errors import InputError, Reason, storage_errors

MAX_BYTES = 64 << 30  # of an item, where nothing else is said
_BLOCK_BYTES = 8 << 20


class Stat(NamedTuple):
    """What tells, without reading it, whether an input is still the same."""

    size_bytes: int
    version: str  # modification time, or the remote store's own tag


def stat(uri: str) -> Stat:
    """Return size and version, of a row those of its table; raises InputError(MISSING) where nothing is at `uri`."""
    if place := place_of(uri):
        return stat(place.table)
    try:
        if "://" not in uri:
            status = Path(uri).stat()
            if not Path(uri).is_file():
                raise InputError(Reason.MISSING, f"{uri} is not a file")
            return Stat(status.st_size, str(status.st_mtime_ns))
        filesystem, path = fsspec.core.url_to_fs(uri)
        info = filesystem.info(path)
        tag = next((str(info[k]) for k in ("ETag", "etag", "md5Hash", "mtime", "LastModified") if info.get(k)), "")
        return Stat(int(info["size"] or 0), tag)
    except (OSError, ValueError, ImportError, KeyError) as e:
        raise InputError(Reason.MISSING, f"{uri} cannot be found: {e}") from e


@contextmanager
def local_file(uri: str, *, max_bytes: int = MAX_BYTES) -> Iterator[Path]:
    """Give a local path with the content of `uri`; that of a remote one, or of a row, is removed afterwards.

    Raises InputError: MISSING where it cannot be read, TOO_LARGE past `max_bytes`; StorageError where the copy has no
    room.
    """
    size, version = stat(uri)
    if place := place_of(uri):
        with tempfile.TemporaryDirectory(prefix="longreel-") as folder:
            yield _written(read_text(place, max_bytes, version), Path(folder, "row.txt"))
        return
    if size > max_bytes:
        raise InputError(Reason.TOO_LARGE, f"{uri} has {size:,} bytes; the limit is {max_bytes:,} (max-bytes)")
    if "://" not in uri:
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="longreel-") as folder:
        copy = Path(folder, "input" + Path(uri).suffix)
        _copy(uri, copy, max_bytes)
        yield copy


def _written(text: str, path: Path) -> Path:
    try:
        data = text.encode()
    except UnicodeEncodeError as e:
        raise InputError(Reason.NOT_TEXT, "the row's text holds half a surrogate pair, which no text does") from e
    with storage_errors(path):
        path.write_bytes(data)
    return path


def _copy(uri: str, copy: Path, max_bytes: int) -> None:
    with storage_errors(copy), copy.open("wb") as target:  # a full disk is no fault of the input
        for block in _blocks(uri):
            target.write(block)
            if target.tell() > max_bytes:
                raise InputError(Reason.TOO_LARGE, f"{uri} goes on past the limit of {max_bytes:,} bytes")


def _blocks(uri: str) -> Iterator[bytes]:
    try:
        with fsspec.open(uri, "rb") as source:
            while block := source.read(_BLOCK_BYTES):
                yield block
    except (OSError, ValueError, ImportError) as e:
        raise InputError(Reason.MISSING, f"{uri} cannot be read: {e}") from e
