"""Requests to Google Cloud Storage, through google-cloud-storage.

Credentials come from Google's standard chain (Application Default Credentials); STORAGE_EMULATOR_HOST selects another
server. A version is the generation of an object.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.storage.client import LIST_LIMIT_S, Entry, Page, Uploaded, md5, md5_of_file
from schemas.storage.failures import Failure, Kind, RequestFailed
from schemas.storage.store import Condition, Stat

_TIMEOUT_S = (5.0, 60.0)  # to connect, and between bytes
_MARK = "longreel-write"
_PASSING = {408, 409, 429, 500, 502, 503, 504}
_PAGE = 1000
_PATIENCE_OF_A_PAGE_S = 10.0
_ONCE: dict[str, Any] = {"timeout": _TIMEOUT_S, "retry": None}
_KINDS = {
    401: Kind.DENIED,
    403: Kind.DENIED,
    404: Kind.ABSENT,
    410: Kind.ABSENT,
    412: Kind.CONFLICT,
    416: Kind.PAST_END,
}


class GcsClient:
    """Implements `Client` for one bucket."""

    deleted_at_once = 1
    unreachable = "Check the network (and STORAGE_EMULATOR_HOST, if it is set), and run the same command again"
    denied = (
        "Check the credentials (`gcloud auth application-default login`, GOOGLE_APPLICATION_CREDENTIALS, or the "
        "service account of the machine) and that they have the role Storage Object Admin for the bucket"
    )

    def __init__(self, bucket: str) -> None:
        try:
            from google.auth.exceptions import DefaultCredentialsError
            from google.cloud import storage  # type: ignore[attr-defined]
        except ImportError as e:
            raise ConfigError(
                "gs:// needs the package google-cloud-storage; install it with: pip install 'longreel[gcs]'"
            ) from e
        project = os.environ.get("GOOGLE_CLOUD_PROJECT") or "none"  # only for making buckets
        try:
            self._client = storage.Client(project=project)
        except DefaultCredentialsError as e:
            raise ConfigError(f"gs://{bucket}: no credentials found. {self.denied}") from e
        self._bucket = self._client.bucket(bucket)

    def head(self, key: str) -> Stat | None:
        """Return size and generation."""
        with _failures():
            blob = self._bucket.get_blob(key, **_ONCE)
            return None if blob is None else _stat(blob)

    def get(self, key: str, start: int, length: int | None, version: str | None) -> bytes:
        """Download a range."""
        blob = self._bucket.blob(key, generation=None if version is None else int(version))
        end = None if length is None else start + length - 1
        is_whole = not start and length is None
        with _failures(past_end=Kind.REFUSED if is_whole else Kind.PAST_END):
            data: bytes = blob.download_as_bytes(
                start=start or None, end=end, raw_download=True, checksum="auto" if is_whole else None, **_ONCE
            )
        if not blob.generation:  # a web page, not an object
            raise RequestFailed(Failure(Kind.REFUSED, "its answer names no generation"))
        return data

    def put(self, key: str, data: bytes, condition: Condition, mark: str | None) -> Uploaded:
        """Upload with ifGenerationMatch."""
        blob = self._bucket.blob(key)
        blob.metadata = None if mark is None else {_MARK: mark}
        generation = 0 if condition.if_absent else condition.if_version and int(condition.if_version)
        with _failures(absent=Kind.NO_BUCKET):
            blob.upload_from_string(data, "application/octet-stream", if_generation_match=generation, **_ONCE)
        return _uploaded(blob, md5(data))

    def mark(self, key: str) -> str | None:
        """Return a value of the object's metadata."""
        with _failures():
            blob = self._bucket.get_blob(key, **_ONCE)
        return None if blob is None else (blob.metadata or {}).get(_MARK)

    def upload(self, key: str, path: Path) -> Uploaded:
        """Upload a file; a large one in parts, which the library sends again where that is needed."""
        blob = self._bucket.blob(key)
        with _failures(absent=Kind.NO_BUCKET):
            blob.upload_from_filename(str(path), "application/octet-stream", timeout=_TIMEOUT_S)
        return _uploaded(blob, md5_of_file(path))

    def children(self, prefix: str) -> tuple[Sequence[str], Sequence[str]]:
        """List with a delimiter; the library repeats the requests of single pages."""
        with _failures(absent=Kind.NO_BUCKET):
            found = self._client.list_blobs(
                self._bucket, prefix=prefix or None, delimiter="/", timeout=_TIMEOUT_S, retry=_retry_of_a_page()
            )
            objects = [blob.name for blob in _ascending(found)]
            return objects, [name.removesuffix("/") for name in found.prefixes]

    def page(self, prefix: str, after: str) -> Page:
        """List one page."""
        with _failures(absent=Kind.NO_BUCKET):
            blobs = self._client.list_blobs(
                self._bucket, prefix=prefix or None, start_offset=after or None, max_results=_PAGE, **_ONCE
            )
            found = [Entry(blob.name, blob.size) for blob in _ascending(blobs)]
        return Page([entry for entry in found if entry.key != after], len(found) >= _PAGE)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete one object."""
        (key,) = keys
        try:
            with _failures():
                self._bucket.blob(key).delete(**_ONCE)
        except RequestFailed as e:
            if e.failure.kind is not Kind.ABSENT:
                raise


def _stat(blob: Any) -> Stat:
    """Return facts of an answer; raises TypeError or ValueError if they are absent or impossible."""
    size, generation = int(blob.size), int(blob.generation)
    if size < 0:
        raise ValueError(f"a size of {size}")
    return Stat(size, str(generation), base64.b64decode(blob.md5_hash or "").hex() or None)


def _ascending(found: Any) -> Iterator[Any]:
    """Yield the objects of a list; raises RequestFailed if it repeats itself or does not end."""
    before, token = "", None
    started = time.monotonic()
    for page in found.pages:
        if time.monotonic() - started > LIST_LIMIT_S:
            raise RequestFailed(Failure(Kind.REFUSED, f"its list does not end within {LIST_LIMIT_S:g} s"))
        for blob in page:
            if before and blob.name <= before:
                raise RequestFailed(Failure(Kind.REFUSED, f"it lists {blob.name!r} after {before!r}"))
            before = blob.name
            yield blob
        if found.next_page_token and found.next_page_token == token:
            raise RequestFailed(Failure(Kind.REFUSED, "its list continues where it has continued before"))
        token = found.next_page_token


def _retry_of_a_page() -> Any:
    """Return how long the library repeats the request of one page: `Requests` repeats the whole list."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(_PATIENCE_OF_A_PAGE_S)


def _uploaded(blob: Any, expected: str) -> Uploaded:
    """Compare the hash that the store computed."""
    found = base64.b64decode(blob.md5_hash or "").hex()
    return Uploaded(str(blob.generation), found == expected if found else None)


@contextmanager
def _failures(*, absent: Kind = Kind.ABSENT, past_end: Kind = Kind.REFUSED) -> Iterator[None]:
    """Raise RequestFailed for the exceptions of the library; `absent` is what 404 means, `past_end` what 416 means."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.exceptions import GoogleCloudError
    from google.cloud.storage.exceptions import DataCorruption
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import RequestException, Timeout
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (GoogleAPICallError, GoogleCloudError) as e:
        kind = _KINDS.get(e.code or 0, Kind.BUSY if e.code in _PASSING else Kind.REFUSED)
        kind = {Kind.ABSENT: absent, Kind.PAST_END: past_end}.get(kind, kind)
        raise RequestFailed(Failure(kind, f"HTTP {e.code or 0:d}")) from None
    except Timeout:
        raise RequestFailed(Failure(Kind.NO_ANSWER, "timeout")) from None
    except (TransportError, NoConnection) as e:
        kind = Kind.NO_ANSWER if "NewConnectionError" in repr(e) else Kind.BUSY
        raise RequestFailed(Failure(kind, "no connection")) from None
    except GoogleAuthError as e:
        raise RequestFailed(Failure(Kind.DENIED, type(e).__name__)) from None
    except (RequestException, HTTPError, HTTPException, ConnectionError):  # the library does not wrap all of them
        raise RequestFailed(Failure(Kind.BUSY, "connection lost")) from None
    except DataCorruption:
        raise RequestFailed(Failure(Kind.BUSY, "the bytes do not have the hash that it names")) from None
    except (AttributeError, KeyError, TypeError, ValueError) as e:  # in the library
        raise RequestFailed(Failure(Kind.REFUSED, f"an answer that it does not understand: {e!r}")) from e
