"""The checksum of a weights file that Longreel wrote: in its header, of all its bytes with zeros in that place.

Files that others wrote, and the one that ships with Longreel, have none (`tokenizer.codec` knows the hash of that).
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from schemas.checksums import PLACEHOLDER, checksum_in_place
from schemas.errors import ConfigError
from schemas.storage.regular import open_regular

KEY = "longreel.checksum"  # in the JSON of the header's entry `config`
_FIELD = KEY.encode() + rb"\": \""  # the JSON of `config` is a string within the JSON of the header
_MAX_HEADER_BYTES = 1 << 24


def write_checksum(path: Path) -> None:
    """Fill in the checksum of a file whose header has PLACEHOLDER as the value of KEY."""
    with path.open("r+b") as file:
        at = _place(file)
        if at is None:
            raise ValueError(f"{path} has no place for a checksum")
        digest = checksum_in_place(file, path.stat().st_size, at)
        file.seek(at)
        file.write(digest)


def check(path: Path) -> None:
    """Raise ConfigError if a file has a checksum that does not match; a file without one passes."""
    with open_regular(path) as file:
        at = _place(file)
        if at is None:
            return
        digest = checksum_in_place(file, path.stat().st_size, at)
        file.seek(at)
        if file.read(len(PLACEHOLDER)) != digest:
            raise ConfigError("it is damaged: its checksum does not match; copy it again, or train or import it again")


def _place(file: BinaryIO) -> int | None:
    size = int.from_bytes(file.read(8), "little")  # of the header of a safetensors file
    found = file.read(min(size, _MAX_HEADER_BYTES)).find(_FIELD)
    return 8 + found + len(_FIELD) if found >= 0 else None
