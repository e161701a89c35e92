"""Parses JSON that others wrote if it has few enough values: `{},` takes 24 times its bytes in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from schemas.errors import InputError, Reason

_MAX_PARTS = 4_000_000  # texts, brackets and commas: a value has at least one, and takes up to 100 bytes for each
_STRUCTURE = "[{,"


def load_json(text: str, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the value of a JSON document.

    Raises InputError MEMORY if it has too many values; ValueError and RecursionError as `json.loads`.
    """
    if sum(map(text.count, ('"', *_STRUCTURE))) > _MAX_PARTS and _has_too_many(text):
        message = f"the JSON has more than {_MAX_PARTS:,} brackets, commas and texts: divide it"
        raise InputError(Reason.MEMORY, message)
    return json.loads(text, object_pairs_hook=object_pairs_hook)


def _has_too_many(text: str) -> bool:
    """Whether there are too many parts, not counting those characters that are within a text."""
    text = text.replace("\\\\", "").replace('\\"', "")
    parts = at = 0
    while parts <= _MAX_PARTS and at < len(text):
        start = text.find('"', at) % (len(text) + 1)  # the end if there is none
        parts += 1 + sum(text.count(character, at, start) for character in _STRUCTURE)
        at = text.find('"', start + 1) % (len(text) + 1) + 1
    return parts > _MAX_PARTS
