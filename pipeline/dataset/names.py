"""Parses the keys of sequences: the inverse of `schemas.dataset.sequence_key`."""

from __future__ import annotations

import re

from schemas.dataset_files import sequence_key
from schemas.records import SPLITS
from schemas.shards.sequence import TOKENS_MEMBER

_KEY = re.compile(rf"({'|'.join(SPLITS)})-(\d{{9,18}})")


_FIRST_MEMBER = f".{TOKENS_MEMBER}"


def key_number(key: str, split: str) -> int | None:
    """Return the number in a key of `split`, or None if `key` is not one."""
    found = _KEY.fullmatch(key)
    number = int(found[2]) if found and found[1] == split else None
    return number if number is not None and key == sequence_key(split, number) else None


def key_of(block: bytes) -> str:
    """Return the key in the first tar header of a sequence's bytes, or "" if there is none."""
    name = block[:100].split(b"\0")[0].decode("ascii", errors="replace")
    return name.removesuffix(_FIRST_MEMBER) if name.endswith(_FIRST_MEMBER) else ""
