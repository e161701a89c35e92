"""A tensor in a file: its shape is known at once, its numbers are read when they are wanted.

A file is judged by names and shapes before anything large is read or unpacked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError

# Far beyond any VQGAN. A tree may share its branches and unfold without end; a shape may claim any size.
_MAX_TENSORS, _MAX_DEPTH, _MAX_NUMBERS = 20_000, 16, 1 << 31


@dataclass(frozen=True)
class Stored:
    """One tensor; `read` raises ConfigError where the file does not hold what it says."""

    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]

    def turned(self, shape: tuple[int, ...], change: Callable[[NDArray[Any]], NDArray[Any]]) -> Stored:
        """Return the tensor that `change` makes of this one, of a shape known beforehand."""
        return Stored(shape, lambda: change(self.read()))


def of_array(array: NDArray[Any]) -> Stored:
    """Return an array in memory as a stored tensor."""
    return Stored(tuple(array.shape), lambda: array)


def flatten(tree: Mapping[Any, Any]) -> dict[str, Stored]:
    """Return the tensors of nested dictionaries by their path, joined with dots; what is no tensor is passed over.

    Raises ConfigError for a tree too deep or too large to be a model, or a tensor too large to be a VQGAN's.
    """
    found: dict[str, Stored] = {}
    waiting: list[tuple[str, int, Any]] = [("", 0, tree)]
    seen = 0
    while waiting:
        prefix, depth, node = waiting.pop()
        seen += 1
        if seen > _MAX_TENSORS or depth > _MAX_DEPTH:
            raise ConfigError(f"more than {_MAX_TENSORS} tensors or {_MAX_DEPTH} levels of names: this is no VQGAN")
        if isinstance(node, Mapping):
            names = [key for key in node if isinstance(key, str)]
            below = [(f"{prefix}.{name}" if prefix else name, depth + 1, node[name]) for name in names]
            waiting.extend(reversed(below))
        elif isinstance(node, Stored):
            if math.prod(node.shape) > _MAX_NUMBERS:
                raise ConfigError(f"{prefix} claims the shape {list(node.shape)}: this is no VQGAN")
            found[prefix] = node
        elif isinstance(node, np.ndarray):
            found[prefix] = of_array(node)
    return found
