"""Names for the arrays of a checkpoint, derived from their paths in a tree of parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_WRAPPER = "value"  # the level that a module library adds around each array


def key_words(path: Iterable[Any]) -> list[str]:
    """Return the words of an array's path in a tree, one per level.

    Each key has an attribute `name`, `key` or `idx`. The words are the same for a tree of named tuples, dictionaries
    or modules, so a checkpoint does not depend on the classes of its nodes.
    """
    words = (str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", None)))) for key in path)
    return [word for word in words if word != _WRAPPER]


def array_name(path: Iterable[Any]) -> str:
    """Return the words of an array's path joined with slashes, such as `layers/attention/query`."""
    return "/".join(key_words(path))
