"""Buckets that rows of a manifest may name, and local files that they may not.

Objects are read with the user's credentials, which usually open many buckets, and a manifest often comes from somebody
else. A row may name the buckets of the inputs that the user gives, that of the manifest itself among them, and those
of --allow-buckets. A manifest in a bucket, which others can replace, may not name files of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from pipeline.sources.access import AccessConfig
from schemas.errors import ConfigError, Reason
from schemas.rows import ManifestItem
from schemas.storage.buckets import BUCKETS
from schemas.storage.location import Location


def is_in_bucket(address: str) -> bool:
    """Whether an address is that of an object in a bucket, rather than of a file or another URL."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme.lower() in BUCKETS and "::" not in address


class GivenBuckets:
    """The buckets that rows may name."""

    def __init__(self, inputs: Iterable[str], access: AccessConfig) -> None:
        self._names = frozenset(_bucket_of(given) for given in inputs if is_in_bucket(given))
        self._patterns = access.allow_buckets
        self._may_name_files = "file" in access.allow_schemes

    def checked(self, item: ManifestItem, *, is_remote: bool) -> ManifestItem:
        """Return the item of a row, rejected if it names what it may not; `is_remote`: of a manifest in a bucket."""
        for address in filter(None, (item.uri, item.caption_file, item.sidecar)):
            if item.reason is None and (refusal := self._refusal(address, is_remote=is_remote)):
                item = replace(item, reason=Reason.NOT_ALLOWED.value, detail=f"{address}: {refusal}")
        return item

    def _refusal(self, address: str, *, is_remote: bool) -> str | None:
        if "://" not in address:
            may = not is_remote or self._may_name_files
            return None if may else "a manifest in a bucket may not name local files; --allow-schemes file allows it"
        for part in address.split("::"):
            if is_in_bucket(part):
                try:
                    name = _bucket_of(part)
                except ConfigError as e:
                    return str(e)
                if name not in self._names and not any(fnmatchcase(name, pattern) for pattern in self._patterns):
                    return f"the bucket {name} is not that of an input; --allow-buckets {name} allows it"
        return None


def _bucket_of(address: str) -> str:
    """Return the address of the bucket; raises ConfigError."""
    location = Location.parse(address)
    return f"{location.scheme}://{location.bucket}"
