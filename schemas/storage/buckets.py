"""The kinds of buckets by scheme. Their libraries are imported when the first bucket is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from schemas.storage.store import Store


def _s3(bucket: str) -> Store:
    from schemas.storage.remote import RemoteStore
    from schemas.storage.s3 import S3Client

    return RemoteStore(f"s3://{bucket}", S3Client(bucket))


def _gcs(bucket: str) -> Store:
    from schemas.storage.gcs import GcsClient
    from schemas.storage.remote import RemoteStore

    return RemoteStore(f"gs://{bucket}", GcsClient(bucket))


BUCKETS: Mapping[str, Callable[[str], Store]] = {"s3": _s3, "gs": _gcs}
