"""TODO."""

from __future__ import annotations

import re

from schemas.dataset import sequence_key
from schemas.records import SPLITS

_KEY = re.compile(rf"({'|'.join(SPLITS)})-(\d{{9,18}})")


_FIRST_MEMBER = ".tokens.npy"


def key_number(key: str, split: str) -> int | None:
    """Return the number in a split's KEY, or None where it is none; the inverse of `sequence_key`."""
    found = _KEY.fullmatch(key)
    number = int(found[2]) if found and found[1] == split else None
    return number if number is not None and key == sequence_key(split, number) else None


def key_of(block: bytes) -> str:
    """Return the KEY that the bytes of a sequence, or its first tar header, begin with; "" where there is none."""
    name = block[:100].split(b"\0")[0].decode("ascii", errors="replace")
    return name.removesuffix(_FIRST_MEMBER) if name.endswith(_FIRST_MEMBER) else ""
