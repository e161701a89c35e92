"""Requests to S3 and the stores that are compatible with it, through obstore.

Endpoint, region and credentials come from AWS's standard chain: the variables AWS_*, of which AWS_ENDPOINT_URL selects
another server, then the roles of the machine. Profiles of ~/.aws are read by boto3.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from schemas.errors import ConfigError
from schemas.storage.client import LIST_LIMIT_S, Entry, Page, Uploaded, md5
from schemas.storage.failures import Failure, Kind, RequestFailed
from schemas.storage.s3_failures import FAILURES, FAILURES_OF_A_RANGE
from schemas.storage.store import Condition, Stat

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")

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
_NO_ETAG = Failure(Kind.REFUSED, "its answer has no ETag")  # without it, copies in the cache would be of any version


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
            with FAILURES:
                meta = self._obstore.head(self._store, key)
        except RequestFailed as e:
            if e.failure.kind is Kind.ABSENT:  # an answer to HEAD does not tell whether the bucket exists
                return None
            raise
        if not meta["e_tag"]:
            raise RequestFailed(_NO_ETAG)
        return Stat(meta["size"], meta["e_tag"])

    def get(self, key: str, start: int, length: int | None, version: str | None) -> bytes:
        """Send one GET with a Range."""
        with FAILURES if length is None and not start else FAILURES_OF_A_RANGE:
            if length is not None and version is None:
                return bytes(self._obstore.get_range(self._store, key, start=start, length=length))
            options: dict[str, Any] = {} if version is None else {"if_match": version}
            if length is not None:
                options["range"] = (start, start + length)
            elif start:
                options["range"] = {"offset": start}
            found = self._obstore.get(self._store, key, options=options)  # type: ignore[arg-type]
            if not found.meta["e_tag"]:  # a web page, not an object
                raise RequestFailed(_NO_ETAG)
            # In pieces: `bytes` allocates what the server declares, and ends the process if that is too much.
            return b"".join(map(bytes, found.stream()))

    def put(self, key: str, data: bytes, condition: Condition, mark: str | None) -> Uploaded:
        """Send one PUT with If-None-Match or If-Match."""
        mode: Any = "create" if condition.if_absent else "overwrite"
        if condition.if_version is not None:
            mode = {"e_tag": condition.if_version}
        attributes: Any = None if mark is None else {_MARK: mark}
        with FAILURES:
            result = self._obstore.put(self._store, key, data, mode=mode, attributes=attributes, use_multipart=False)
        return _uploaded(result["e_tag"], md5(data))

    def mark(self, key: str) -> str | None:
        """Return a value of the object's metadata."""
        with FAILURES:
            return self._obstore.get(self._store, key).attributes.get(_MARK)

    def upload(self, key: str, path: Path) -> Uploaded:
        """Upload a file in parts, which the store joins when it has all of them."""
        size = path.stat().st_size
        part_bytes = max(_PART_BYTES, -(-size // (_MAX_PARTS << 20)) << 20)
        with FAILURES:
            result = self._obstore.put(
                self._retrying, key, path, chunk_size=part_bytes, max_concurrency=_PARALLEL_PARTS
            )
        return _uploaded(result["e_tag"], _etag_of_file(path, part_bytes))

    def children(self, prefix: str) -> tuple[Sequence[str], Sequence[str]]:
        """List with a delimiter."""
        found = _ended(lambda: self._obstore.list_with_delimiter_async(self._retrying, prefix or None))
        objects, folders = [entry["path"] for entry in found["objects"]], list(found["common_prefixes"])
        if not objects and not folders:
            self._require_store(prefix)
        return objects, folders

    def page(self, prefix: str, after: str) -> Page:
        """List one page."""

        async def first() -> Sequence[Any]:
            pages = self._obstore.list(self._store, prefix or None, offset=after or None, chunk_size=_PAGE)
            return await anext(aiter(pages), [])

        found = [Entry(entry["path"], entry["size"]) for entry in _ended(first)]
        if not found:
            self._require_store(prefix)
        return Page(found, len(found) >= _PAGE)

    def _require_store(self, prefix: str) -> None:
        """Raise RequestFailed if the server knows an object that nobody has made.

        A web server or a proxy that answers every request with a page does; the client reads the page as an empty list.
        """
        try:
            found = self.head(f"{prefix}{uuid.uuid4().hex}")
        except RequestFailed as e:
            if e.failure.kind is not Kind.DENIED:  # some keys may list, and not ask about what does not exist
                raise
        else:
            if found is not None:
                raise RequestFailed(Failure(Kind.REFUSED, "it answers as if every object existed: not an object store"))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        with FAILURES:
            self._obstore.delete(self._store, list(keys))


def _ended(make: Callable[[], Awaitable[T]]) -> T:
    """Return what a list consists of; raise RequestFailed if it does not end in time.

    The client requests the next part for as long as the store names one. Only what is awaited can be ended, and the
    loop has a thread of its own because the caller's may run one.
    """

    async def limited() -> T:
        return await asyncio.wait_for(make(), LIST_LIMIT_S)

    with FAILURES, ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(asyncio.run, limited()).result()
        except TimeoutError:
            raise RequestFailed(Failure(Kind.REFUSED, f"its list does not end within {LIST_LIMIT_S:g} s")) from None


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
