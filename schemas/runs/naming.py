"""Names for the arrays of a checkpoint, derived from their paths in a tree of parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_WRAPPER = "value"  # the attribute in which `nnx.Param` holds its array


def key_words(path: Iterable[Any]) -> list[str]:
    """Return the words of an array's path in a tree, one per level.

    Each key has an attribute `name`, `key` or `idx`. The words are the same for a tree of named tuples, dictionaries
    or modules, so a checkpoint does not depend on the classes of its nodes.
    """
    keys = list(path)
    if keys and getattr(keys[-1], "name", None) == _WRAPPER:
        del keys[-1]
    return [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", None)))) for key in keys]


def array_name(path: Iterable[Any]) -> str:
    """Return the words of an array's path joined with slashes, such as `layers/attention/query`."""
    return "/".join(key_words(path))


def earlier_name(name: str) -> str:
    """Return the name that an array had in checkpoints written before 2026-11-28, which left out the word `value`."""
    return "/".join(word for word in name.split("/") if word != _WRAPPER)
