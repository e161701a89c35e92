"""Fingerprints: SHA-256 over bytes, and over values in one canonical form.

A unit of work keeps a row whose fingerprint still matches, so a fingerprint holds all that a row depends on
(content, configuration that matters, model weights) and nothing else (no paths, no times, no worker counts).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK_BYTES = 1 << 20


def sha256_stream(stream: BinaryIO) -> str:
    """Return the hex SHA-256 of all that is left in `stream`, read in 1 MiB blocks."""
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a local file."""
    with path.open("rb") as f:
        return sha256_stream(f)


def canonical_json(value: Any) -> str:
    """Write dataclasses, mappings, sequences and scalars as JSON that depends on nothing but their values.

    A whole number is written the same whether it came as int or float. Raises TypeError for anything else, paths
    among them: what a path leads to can go into a fingerprint, not where it lies.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def fingerprint(*values: Any) -> str:
    """Return the hex SHA-256 of the canonical JSON of `values`."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def bucket(identity: str, buckets: int) -> int:
    """Return in which of `buckets` an identity falls: the same in every process, on every machine.

    Buckets are ranges of a hash, in its order: more of them cut the same order finer.
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
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no canonical form in a fingerprint")
