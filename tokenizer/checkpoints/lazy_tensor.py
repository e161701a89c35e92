"""The tensors of a file by name; names and shapes are validated before anything large is read or decompressed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.weight_files.stored import Stored

# Far more than any VQGAN has. Shared branches of a tree can expand without limit, and a shape can claim any size.
_MAX_TENSORS, _MAX_DEPTH, _MAX_VALUES = 20_000, 16, 1 << 31


def of_array(array: NDArray[Any]) -> Stored:
    """Wrap an array in memory."""
    return Stored(tuple(array.shape), lambda: array)


def flatten(tree: Mapping[Any, Any]) -> dict[str, Stored]:
    """Return the tensors of nested dictionaries by their paths, joined with dots; other values are ignored.

    Raises ConfigError if the tree is too deep or too large, or a tensor too large, for a VQGAN.
    """
    found: dict[str, Stored] = {}
    waiting: list[tuple[str, int, Any]] = [("", 0, tree)]
    seen = 0
    while waiting:
        prefix, depth, node = waiting.pop()
        seen += 1
        below = len(node) if isinstance(node, Mapping) else 0
        if seen + len(waiting) + below > _MAX_TENSORS or depth > _MAX_DEPTH:
            raise ConfigError(f"more than {_MAX_TENSORS} tensors or {_MAX_DEPTH} levels of names: this is not a VQGAN")
        if isinstance(node, Mapping):
            names = [key for key in node if isinstance(key, str)]
            waiting.extend((f"{prefix}.{name}" if prefix else name, depth + 1, node[name]) for name in reversed(names))
        elif isinstance(node, Stored):
            if math.prod(node.shape) > _MAX_VALUES:
                raise ConfigError(f"{prefix} claims the shape {list(node.shape)}: this is not a VQGAN")
            found[prefix] = node
        elif isinstance(node, np.ndarray):
            found[prefix] = of_array(node)
    return found
