"""Checksums: XXH3 hashes, by which a file that was damaged on disk is noticed when it is read.

They detect damage, not tampering, at the speed of memory (20 to 50 GB/s); identities and fingerprints are SHA-256
(`schemas.fingerprint`). Every file has one, in the place that its format allows:

    Parquet            in the metadata of its footer (`schemas.tables`)
    safetensors        in the metadata of its header (`tokenizer.checkpoints.checkpoint`)
    JSON               in the field `checksum` (`schemas.files.write_json`)
    arrays             in the 16 bytes after the values (`append_checksum`)
    packed sequences   of each sequence, in `index.json`, whose SHA-256 is in the card (`schemas.dataset`)
    checkpoints        of each file, in `checksums.json` of the checkpoint (`schemas.runs.checksums`)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from schemas.errors import DatasetError
from schemas.storage.location import Location, located

DIGEST_BYTES = 16
PLACEHOLDER = b"0" * 32  # where a file contains its own checksum
_BLOCK_BYTES = 1 << 20


def checksum(data: bytes | memoryview) -> str:
    """Return the XXH3-128 of `data`, 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


def file_checksum(path: Location | Path) -> str:
    """Return the XXH3-128 of a file, 32 hex digits."""
    with located(path).open() as f:
        return _digest(f, _size(f)).hexdigest()


def append_checksum(path: Path) -> None:
    """Append the 16 bytes of the XXH3-128 of a file to it; readers that know the length of the values ignore them."""
    with path.open("r+b") as f:
        f.write(_digest(f, path.stat().st_size).digest())


def check_appended(path: Location | Path) -> None:
    """Raise DatasetError if a file is missing, or does not end in the checksum of the bytes before it."""
    try:
        with located(path).local().open("rb") as f:  # whose bytes are mapped next
            size = _size(f) - DIGEST_BYTES
            same = size >= 0 and _digest(f, size).digest() == f.read()
    except OSError as e:
        raise DatasetError(f"{path} cannot be read ({e}); run the same command again") from e
    if not same:
        raise DatasetError(f"{path} is damaged: its checksum does not match; run the same command again")


def checksum_in_place(file: Any, size: int, at: int) -> bytes:
    """Return the hash of an open file of `size` bytes with zeros in the 32 places from `at` on, where it is stored."""
    file.seek(0)
    digest = _digest(file, at)
    digest.update(PLACEHOLDER)
    file.seek(at + len(PLACEHOLDER))
    return _update(digest, file, size - at - len(PLACEHOLDER)).hexdigest().encode()


def _size(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _digest(file: Any, size: int) -> xxhash.xxh3_128:
    """Return the hash of the next `size` bytes, or of those that are left."""
    return _update(xxhash.xxh3_128(), file, size)


def _update(digest: xxhash.xxh3_128, file: Any, size: int) -> xxhash.xxh3_128:
    while size > 0 and (block := file.read(min(_BLOCK_BYTES, size))):
        digest.update(block)
        size -= len(block)
    return digest
