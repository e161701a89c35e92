"""Requests to S3 and the stores that are compatible with it, through obstore.

Endpoint, region and credentials come from AWS's standard chain: the variables AWS_*, of which AWS_ENDPOINT_URL selects
another server, then the roles of the machine. Profiles of ~/.aws are read by boto3.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigError
from schemas.storage.client import Entry, Page, Uploaded, md5
from schemas.storage.failures import Failure, Kind, RequestFailed
from schemas.storage.store import Condition, Stat

if TYPE_CHECKING:
    from obstore.store import S3Store

_TIMEOUT = timedelta(seconds=60)
_CONNECT_TIMEOUT = timedelta(seconds=5)
_MARK = "longreel-write"
_PART_BYTES = 8 << 20
_MAX_PARTS = 10_000
_PARALLEL_PARTS = 4
_PAGE = 1000
_RETRIES_OF_A_PART = 12  # of an upload or a list, which is not begun again for one part
_OWN_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
             "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_INVALID_NAME = re.compile(r'(?:invalid path|not parse path): [^"]*"([^"]{1,1024})"')
_PASSING = {408, 409, 429, 500, 502, 503, 504}
_PASSING_CODES = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError", "BadDigest"}


class S3Client:
    """Implements `Client` for one bucket."""

    deleted_at_once = 1000
    unreachable = "Check the network, AWS_ENDPOINT_URL and AWS_REGION, and run the same command again"
    denied = (
        "Check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of the machine) "
        "and that they permit to list, read, write and delete in the bucket"
    )

    def __init__(self, bucket: str) -> None:
        try:
            import obstore
        except ImportError as e:
            raise ConfigError("s3:// needs the package obstore; install it with: pip install 'longreel[s3]'") from e
        self._obstore = obstore
        credentials = _profile()
        self._store = _store(bucket, credentials, retries=0)
        self._retrying = _store(bucket, credentials, retries=_RETRIES_OF_A_PART)

    def head(self, key: str) -> Stat | None:
        """Return size and ETag."""
        try:
            with _FAILURES:
                meta = self._obstore.head(self._store, key)
        except RequestFailed as e:
            if e.failure.kind is Kind.ABSENT:  # an answer to HEAD does not tell whether the bucket exists
                return None
            raise
        if not meta["e_tag"]:  # without it, copies in the cache would be of any version
            raise RequestFailed(Failure(Kind.REFUSED, "its answer has no ETag"))
        return Stat(meta["size"], meta["e_tag"])

    def get(self, key: str, start: int, length: int | None, version: str | None) -> bytes:
        """Send one GET with a Range."""
        with _FAILURES if length is None and not start else _FAILURES_OF_A_RANGE:
            if length is not None and version is None:
                return bytes(self._obstore.get_range(self._store, key, start=start, length=length))
            options: dict[str, Any] = {} if version is None else {"if_match": version}
            if length is not None:
                options["range"] = (start, start + length)
            elif start:
                options["range"] = {"offset": start}
            found = self._obstore.get(self._store, key, options=options)  # type: ignore[arg-type]
            # In pieces: `bytes` allocates what the server declares, and ends the process if that is too much.
            return b"".join(map(bytes, found.stream()))

    def put(self, key: str, data: bytes, condition: Condition, mark: str | None) -> Uploaded:
        """Send one PUT with If-None-Match or If-Match."""
        mode: Any = "create" if condition.if_absent else "overwrite"
        if condition.if_version is not None:
            mode = {"e_tag": condition.if_version}
        attributes: Any = None if mark is None else {_MARK: mark}
        with _FAILURES:
            result = self._obstore.put(self._store, key, data, mode=mode, attributes=attributes, use_multipart=False)
        return _uploaded(result["e_tag"], md5(data))

    def mark(self, key: str) -> str | None:
        """Return a value of the object's metadata."""
        with _FAILURES:
            return self._obstore.get(self._store, key).attributes.get(_MARK)

    def upload(self, key: str, path: Path) -> Uploaded:
        """Upload a file in parts, which the store joins when it has all of them."""
        size = path.stat().st_size
        part_bytes = max(_PART_BYTES, -(-size // (_MAX_PARTS << 20)) << 20)
        with _FAILURES:
            result = self._obstore.put(
                self._retrying, key, path, chunk_size=part_bytes, max_concurrency=_PARALLEL_PARTS
            )
        return _uploaded(result["e_tag"], _etag_of_file(path, part_bytes))

    def children(self, prefix: str) -> tuple[Sequence[str], Sequence[str]]:
        """List with a delimiter."""
        with _FAILURES:
            found = self._obstore.list_with_delimiter(self._retrying, prefix or None)
        return [entry["path"] for entry in found["objects"]], list(found["common_prefixes"])

    def page(self, prefix: str, after: str) -> Page:
        """List one page."""
        with _FAILURES:
            pages = self._obstore.list(self._store, prefix or None, offset=after or None, chunk_size=_PAGE)
            found = [Entry(entry["path"], entry["size"]) for entry in next(iter(pages), [])]
        return Page(found, len(found) >= _PAGE)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        with _FAILURES:
            self._obstore.delete(self._store, list(keys))


def _store(bucket: str, credentials: Any, *, retries: int) -> S3Store:
    from obstore.store import S3Store

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    config: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    if credentials is not None and (region := credentials.config.get("region")):
        config["region"] = region
    return S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]
        credential_provider=credentials,
        client_options={
            "timeout": _TIMEOUT,
            "connect_timeout": _CONNECT_TIMEOUT,
            "allow_http": endpoint.startswith("http://"),
        },
        retry_config={"max_retries": retries, "retry_timeout": timedelta(minutes=5)},
    )


def _profile() -> Any:
    """Return the credentials of a profile of ~/.aws; None if there is none, or the environment has others."""
    files = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
    has_files = any(Path(os.environ.get(name, default)).expanduser().is_file() for name, default in files.items())
    if any(os.environ.get(name) for name in _OWN_KEYS) or not (has_files or "AWS_PROFILE" in os.environ):
        return None
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as e:
        raise ConfigError("profiles of AWS need the package boto3: pip install 'longreel[s3]'") from e
    try:
        session = boto3.Session()
        return None if session.get_credentials() is None else Boto3CredentialProvider(session)
    except BotoCoreError as e:
        raise ConfigError(f"the AWS profile cannot be used: {e}") from e


def _etag_of_file(path: Path, part_bytes: int) -> str:
    """Return the ETag of a file: its MD5, or for several parts that of their MD5s."""
    with path.open("rb") as file:
        parts = [md5(part) for part in iter(lambda: file.read(part_bytes), b"")]
    if path.stat().st_size <= part_bytes:
        return parts[0] if parts else md5(b"")
    return f"{md5(b''.join(map(bytes.fromhex, parts)))}-{len(parts)}"


def _uploaded(etag: str | None, expected: str) -> Uploaded:
    """Compare an ETag; it is another hash than MD5 where the store encrypts with keys of its own."""
    return Uploaded(etag or "", True if (etag or "").strip('"') == expected else None)


class _Failures:
    """A context manager that raises RequestFailed for the exceptions of obstore; it costs nothing if there is none.

    `past_end` is what 416 means.
    """

    def __init__(self, past_end: Kind) -> None:
        self._past_end = past_end

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        if e is None:
            return
        from obstore.exceptions import BaseError

        if isinstance(e, FileNotFoundError):
            raise RequestFailed(_failure(str(e), Kind.ABSENT)) from None
        if isinstance(e, BaseError | OSError | ValueError):
            found = _failure(str(e), _KINDS.get(type(e).__name__))
            raise RequestFailed(replace(found, kind=self._past_end) if found.kind is Kind.PAST_END else found) from None


_FAILURES, _FAILURES_OF_A_RANGE = _Failures(Kind.REFUSED), _Failures(Kind.PAST_END)
_KINDS = {
    "AlreadyExistsError": Kind.CONFLICT,
    "PreconditionError": Kind.CONFLICT,
    "PermissionDeniedError": Kind.DENIED,
    "UnauthenticatedError": Kind.DENIED,
}


def _failure(message: str, kind: Kind | None) -> Failure:
    status_text, code_text = _STATUS.search(message), _CODE.search(message)
    status = int(status_text[1]) if status_text else None
    code = code_text[1] if code_text else ""
    text = f"HTTP {status} {code}".strip()
    if "169.254.169.254" in message or "169.254.170.2" in message:
        return Failure(Kind.DENIED, "no credentials found")
    if code == "NoSuchBucket":
        return Failure(Kind.NO_BUCKET, text)
    if status is None:
        return _without_status(message, kind)
    if status in _PASSING or code in _PASSING_CODES:
        return Failure(Kind.BUSY, text)
    if status == 301:
        return Failure(Kind.REFUSED, f"{text}: the bucket is in another region")
    return Failure({401: Kind.DENIED, 403: Kind.DENIED, 416: Kind.PAST_END}.get(status, kind or Kind.REFUSED), text)


def _without_status(message: str, kind: Kind | None) -> Failure:
    if kind is not None:
        return Failure(kind, "")
    if (name := _INVALID_NAME.search(message)) is not None:
        return Failure(Kind.INVALID_NAME, repr(name[1]))
    if re.search(r"kind: Timeout|TimedOut|timed out", message):
        return Failure(Kind.NO_ANSWER, "timeout")
    if re.search(r"kind: Connect|Connect\b", message):
        return Failure(Kind.NO_ANSWER, "no connection")
    if re.search(r"HTTP error|reqwest|hyper|error decoding response|connection|incomplete", message):
        return Failure(Kind.BUSY, "connection lost")
    return Failure(Kind.REFUSED, message.split("\n")[0][:200])
