"""Reads remote inputs: objects of buckets as `bucket_files` does, others through fsspec.

Requests are tried again while a server or the network fails.

A failure is *missing* only where the server says so (HTTP 404 or 410, no such object). Everything else that may pass is
*unreachable*: HTTP 403, 429 and 5xx, refused connections, names that do not resolve, timeouts, bodies that are cut
short. It is tried again with exponential back-off, or after the time that Retry-After asks for, within the limits of
AccessConfig. A host that does not answer at all is not asked again for a minute, so that a list of a million items on
it does not take a million timeouts.
"""

from __future__ import annotations

import functools
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import aiohttp
import fsspec
from fsspec.exceptions import FSTimeoutError

from pipeline.runtime.interrupt import sleep_unless_stopping
from pipeline.sources.access import AccessConfig, require_allowed, schemes_of
from pipeline.sources.bucket_files import copy_object, object_stat, open_object, write_fully
from pipeline.sources.credentials import without_credentials
from pipeline.sources.given_buckets import is_in_bucket
from pipeline.sources.http_client import AddressNotAllowed, open_session
from pipeline.sources.os_errors import reason_of
from schemas.counted import counted
from schemas.deadline import checked
from schemas.errors import InputError, Reason, storage_errors
from schemas.record_errors import brief, record_errors

T = TypeVar("T")
_HTTP = ("http", "https")
_GONE = (404, 410)
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_FIRST_WAIT_S = 0.5
_DOWN_S = 60.0  # a host that does not answer is not asked again for this time
_MIN_BYTES_PER_S = 1024  # a slower transfer is given up
_VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "Last-Modified")
_NETWORK_ERRORS = (OSError, aiohttp.ClientError, FSTimeoutError, ImportError)
_down: dict[str, float] = {}  # host: time.monotonic() until which it is not asked


class RemoteFile(NamedTuple):
    """Facts about a remote file."""

    size_bytes: int | None  # None if the server does not tell it
    version: str  # the store's own tag, "" if there is none


class Failure(NamedTuple):
    """What an exception of a request means."""

    reason: Reason
    message: str
    may_pass: bool = False  # another attempt can succeed
    no_answer: bool = False  # the host did not answer
    retry_after_s: float | None = None


def remote_stat(uri: str, access: AccessConfig) -> RemoteFile:
    """Return facts about a remote file without reading it; raises InputError."""
    require_allowed(uri, access)
    if is_in_bucket(uri):
        found = object_stat(uri, access)
        return RemoteFile(found.size, found.version)
    return _tried(uri, access, lambda: _stat(uri, access))


def copy_remote(uri: str, access: AccessConfig, copy: Path, *, max_bytes: int) -> None:
    """Copy a remote file; raises InputError, TOO_LARGE beyond `max_bytes`, and StorageError if the disk is full.

    Every attempt begins anew, so that the copy is of one version.
    """
    require_allowed(uri, access)
    if is_in_bucket(uri):
        copy_object(uri, access, copy, max_bytes=max_bytes)
        return

    def attempt() -> None:
        expected, size = _stat(uri, access).size_bytes, 0
        with copy.open("wb", buffering=0) as target:  # so that closing it cannot fail
            for block in checked(_blocks(uri, access, expected), every=1):
                with storage_errors(copy):  # a full disk is not an error of the input
                    write_fully(target, block)
                size += len(block)
                if size > max_bytes:
                    message = f"{uri}: longer than the limit of {max_bytes:,} bytes (max-bytes)"
                    raise InputError(Reason.TOO_LARGE, message)
        if expected is not None and size != expected:
            raise aiohttp.ClientPayloadError(f"the body ended after {size:,} of {expected:,} bytes")

    _tried(uri, access, attempt)


@contextmanager
def open_remote(uri: str, access: AccessConfig) -> Iterator[BinaryIO]:
    """Return a context manager with a remote file that can seek; what its reads raise becomes InputError."""
    require_allowed(uri, access)
    if is_in_bucket(uri):
        with open_object(uri, access) as stream:
            yield stream
        return
    file = _tried(uri, access, lambda: _open(uri, access))
    try:
        with file:
            yield file
    except _NETWORK_ERRORS as e:
        if isinstance(e, OSError) and e.errno is None and not isinstance(e, aiohttp.ClientError | TimeoutError):
            raise  # of the library that reads it
        failure = failure_of(e)
        raise InputError(failure.reason, f"{uri}: {failure.message}") from e


def _open(uri: str, access: AccessConfig) -> Any:
    filesystem, path = fsspec.core.url_to_fs(uri, **_options(uri, access))
    return filesystem.open(path, "rb")


def _stat(uri: str, access: AccessConfig) -> RemoteFile:
    filesystem, path = fsspec.core.url_to_fs(uri, **_options(uri, access))
    info = filesystem.info(path)
    if info.get("type", "file") != "file":
        raise InputError(Reason.UNREADABLE, f"{uri}: not a file")
    size = info.get("size")
    tag = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
    return RemoteFile(None if size is None else int(size), tag)


def _blocks(uri: str, access: AccessConfig, size: int | None) -> Iterator[bytes]:
    filesystem, path = fsspec.core.url_to_fs(uri, **_options(uri, access))
    streamed: dict[str, Any] = {}
    if schemes_of(uri)[0] in _HTTP:  # one request, uncompressed, instead of one for each block
        streamed = {"block_size": 0, "size": size or -1, "headers": {"Accept-Encoding": "identity"}}
    started, count = time.monotonic(), 0
    with filesystem.open(path, "rb", **streamed) as source:
        while block := source.read(1 << 20):
            yield block
            count += len(block)
            passed = time.monotonic() - started
            if passed > access.fetch_timeout_s + count / _MIN_BYTES_PER_S:
                raise TimeoutError(f"{count:,} bytes in {passed:.0f} seconds are too slow")


def _options(uri: str, access: AccessConfig) -> dict[str, Any]:
    """Return fsspec's options for the HTTP parts of a URL."""
    return {scheme: {"get_client": _client(access)} for scheme in schemes_of(uri) if scheme in _HTTP}


@functools.cache
def _client(access: AccessConfig) -> Any:
    """Return fsspec's function that opens a session; always the same one, as fsspec keeps one session for each."""
    return functools.partial(open_session, access)


def _tried(uri: str, access: AccessConfig, request: Callable[[], T]) -> T:
    """Return the result of a request, which is tried again while it may succeed; raises InputError."""
    host = _host(uri)
    if (left := _down.get(host, 0.0) - time.monotonic()) > 0:
        raise InputError(Reason.UNREACHABLE, f"{uri}: {host} did not answer; it is asked again in {left:.0f} s")
    waited = 0.0
    for attempt in range(1, access.fetch_attempts + 1):
        try:
            with record_errors(uri):
                return request()
        except InputError as e:
            if e.reason is Reason.TIMEOUT:  # of the item: the server may be faster another time
                raise InputError(Reason.UNREACHABLE, f"{uri}: {e}") from e
            if e.__cause__ is None or e.reason is Reason.FAILED:
                raise
            failure, error = failure_of(e.__cause__), e.__cause__
        wait = _wait_s(failure, attempt)
        if not failure.may_pass or attempt == access.fetch_attempts or waited + wait > access.fetch_max_wait_s:
            break
        waited += wait
        if not sleep_unless_stopping(wait):
            break
    if failure.no_answer:
        _down[host] = time.monotonic() + _DOWN_S
    tries = f" ({counted(attempt, 'attempt')})" if attempt > 1 else ""
    raise InputError(failure.reason, f"{uri}: {failure.message}{tries}") from error


def _host(uri: str) -> str:
    last = uri.split("::")[-1]
    return re.split(r"[/?#]", last.partition("://")[2], maxsplit=1)[0] or last


def _wait_s(failure: Failure, attempt: int) -> float:
    if failure.retry_after_s is not None:
        return failure.retry_after_s
    return float(_FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))


def failure_of(error: BaseException) -> Failure:
    """Return what an exception means; fsspec and aiohttp wrap the one that tells."""
    chain = list(_causes(error))
    for kind, judge in _JUDGES:
        if found := next((e for e in chain if isinstance(e, kind)), None):
            return judge(found)
    return Failure(Reason.UNREACHABLE, brief(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _of_refusal(error: Any) -> Failure:
    return Failure(Reason.NOT_ALLOWED, str(error))


def _of_response(error: Any) -> Failure:
    message = f"HTTP {error.status} {error.message}".strip()
    if error.status in _GONE:
        return Failure(Reason.MISSING, message)
    may_pass = error.status in _TRY_AGAIN
    return Failure(Reason.UNREACHABLE, message, may_pass=may_pass, retry_after_s=_retry_after_s(error.headers))


def _of_redirect(error: Any) -> Failure:
    return Failure(
        Reason.NOT_ALLOWED, f"a redirect to {without_credentials(str(error))} is not allowed: only to http and https"
    )


def _of_url(error: Any) -> Failure:
    return Failure(Reason.MISSING, f"not a valid URL: {brief(error)}")


def _of_connection(error: Any) -> Failure:
    return Failure(Reason.UNREACHABLE, f"no answer: {brief(error)}", may_pass=True, no_answer=True)


def _of_body(error: Any) -> Failure:
    return Failure(Reason.UNREACHABLE, f"the body is not complete: {brief(error)}", may_pass=True)


def _of_module(error: Any) -> Failure:
    return Failure(Reason.UNREACHABLE, brief(error))


def _of_system(error: Any) -> Failure:
    if reason_of(error) is Reason.MISSING:
        return Failure(Reason.MISSING, "not found")
    return Failure(Reason.UNREACHABLE, brief(error), may_pass=not isinstance(error, PermissionError))


# In this order: what tells more comes first.
_JUDGES: tuple[tuple[type[BaseException], Callable[[Any], Failure]], ...] = (
    (AddressNotAllowed, _of_refusal),
    (aiohttp.ClientResponseError, _of_response),
    (aiohttp.NonHttpUrlClientError, _of_redirect),
    (aiohttp.InvalidURL, _of_url),
    (aiohttp.ClientPayloadError, _of_body),
    (aiohttp.ClientConnectionError, _of_connection),
    (ImportError, _of_module),
    (OSError, _of_system),
)


def _retry_after_s(headers: Any) -> float | None:
    """Return the seconds that a server asks to wait, given as a number or as a date, by the clock of the server."""
    value = (headers or {}).get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError):
        return None
