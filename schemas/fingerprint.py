"""Fingerprints: SHA-256 of bytes, and of values in a canonical form.

A job reuses a row whose fingerprint still matches. A fingerprint therefore covers everything that the row depends on
(content, relevant configuration, model weights) and nothing else (no paths, times or numbers of workers).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from schemas.deadline import checkpoint
from schemas.storage.location import Location, located

_BLOCK_BYTES = 1 << 20


def sha256_stream(stream: BinaryIO) -> str:
    """Return the hex SHA-256 of the rest of `stream`, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK_BYTES):
        checkpoint()
        digest.update(block)
    return digest.hexdigest()


def sha256_file(path: Location | Path) -> str:
    """Return the hex SHA-256 of a file."""
    with located(path).open() as f:
        return sha256_stream(f)


def canonical_json(value: Any) -> str:
    """Return dataclasses, mappings, sequences and scalars as JSON that depends only on their values.

    4 and 4.0 have the same form. Raises TypeError for other types. Paths are among them: a fingerprint covers the
    content of a file, not its location.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def fingerprint(*values: Any) -> str:
    """Return the hex SHA-256 of the canonical JSON of `values`."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def bucket(identity: str, buckets: int) -> int:
    """Return the bucket of an identity, 0 to `buckets` - 1, by hash; it does not depend on process or machine.

    Buckets are consecutive ranges of the hash, so a larger number of buckets subdivides the same order.
    """
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") * buckets >> 64


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return int(value) if value.is_integer() else value
        case list() | tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Location):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(
        f"{type(value).__name__} cannot be part of a fingerprint: convert it to numbers, strings or a dataclass"
    )
