"""Reads inputs in buckets: an object that does not exist is *missing*, every other failure *unreachable*.

Requests are tried again within the limits of AccessConfig. A bucket that does not answer is not asked again for a
minute, so that a list of a million items in it does not take a million timeouts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

from pipeline.runtime.interrupt import sleep_unless_stopping
from pipeline.sources.access import AccessConfig
from schemas.deadline import checkpoint
from schemas.errors import BucketError, ConfigError, InputError, Reason, Unreachable, storage_errors
from schemas.storage.failures import Patience, patience
from schemas.storage.location import Location
from schemas.storage.store import Stat

_DOWN_S = 60.0
_BLOCK_BYTES = 1 << 20
_down: dict[str, float] = {}  # bucket: time.monotonic() until which it is not asked


def object_stat(uri: str, access: AccessConfig) -> Stat:
    """Return size and version of an object; raises InputError."""
    with _reading(uri, access) as location:
        found = location.stat()
        if found is None:
            raise FileNotFoundError
    return found


def copy_object(uri: str, access: AccessConfig, copy: Path, *, max_bytes: int) -> None:
    """Copy one version of an object; raises InputError, TOO_LARGE beyond `max_bytes`; StorageError for a full disk."""
    with _reading(uri, access) as location, location.open() as source, copy.open("wb", buffering=0) as target:
        size = 0
        while block := source.read(_BLOCK_BYTES):
            checkpoint()
            size += len(block)
            if size > max_bytes:
                message = f"{uri}: longer than the limit of {max_bytes:,} bytes (max-bytes)"
                raise InputError(Reason.TOO_LARGE, message)
            with storage_errors(copy):  # a full disk is not an error of the input
                write_fully(target, block)


def write_fully(target: RawIOBase, block: bytes) -> None:
    """Write all bytes of a block to an unbuffered file."""
    rest = memoryview(block)
    while rest:
        rest = rest[target.write(rest) :]


@contextmanager
def open_object(uri: str, access: AccessConfig) -> Iterator[BinaryIO]:
    """Return a context manager with a stream of an object that can seek; what its reads raise becomes InputError."""
    with _reading(uri, access) as location, location.open() as stream:
        yield stream


@contextmanager
def _reading(uri: str, access: AccessConfig) -> Iterator[Location]:
    try:
        location = Location.parse(uri)
    except ConfigError as e:
        raise InputError(Reason.MISSING, f"not a valid address: {e}") from e
    bucket = f"{location.scheme}://{location.bucket}"
    if (left := _down.get(bucket, 0.0) - time.monotonic()) > 0:
        raise InputError(Reason.UNREACHABLE, f"{uri}: {bucket} did not answer; it is asked again in {left:.0f} s")
    try:
        with patience(Patience(access.fetch_attempts, access.fetch_max_wait_s, sleep_unless_stopping)):
            yield location
    except FileNotFoundError as e:
        raise InputError(Reason.MISSING, f"{uri}: not found") from e
    except Unreachable as e:
        _down[bucket] = time.monotonic() + _DOWN_S
        raise InputError(Reason.UNREACHABLE, str(e)) from e
    except (BucketError, ConfigError) as e:
        raise InputError(Reason.UNREACHABLE, str(e)) from e
