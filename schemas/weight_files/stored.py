"""A tensor in a file: the shape is known immediately, the values are read on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Stored:
    """A tensor; `read` raises ConfigError if the file does not contain what it declares.

    `part(start, stop)`, where the file allows it, reads the values from `start` to `stop` in row-major order, without
    the rest.
    """

    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]
    part: Callable[[int, int], NDArray[Any]] | None = None
    dtype: np.dtype[Any] | None = None  # None: known only when it is read

    def transformed(self, shape: tuple[int, ...], change: Callable[[NDArray[Any]], NDArray[Any]]) -> Stored:
        """Return this tensor with `change` applied when it is read; `shape` is that of the result."""
        return Stored(shape, lambda: change(self.read()))
