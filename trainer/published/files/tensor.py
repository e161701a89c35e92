"""A tensor in a file, of which any rows can be read without the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.record_errors import brief
from schemas.storage.regular import open_regular

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Tensor:
    """A tensor; `read(start, stop)` returns its values from `start` to `stop` in row-major order.

    `start` and `stop` are at the ends of rows, because quantized values come in blocks. `read` raises ConfigError if
    the file does not have the values.
    """

    shape: tuple[int, ...]
    dtype: str  # as the file names it, for example "BF16" or "Q4_K"
    read: Callable[[int, int], NDArray[Any]]

    @property
    def row_size(self) -> int:
        """Values of one row, an index of the first dim."""
        return math.prod(self.shape[1:])

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from `start` to `stop`, [stop - start, ...]."""
        return self.read(start * self.row_size, stop * self.row_size).reshape(stop - start, *self.shape[1:])

    def part(self, start: int, stop: int) -> Tensor:
        """Return the tensor of the rows from `start` to `stop`."""
        first = start * self.row_size
        return Tensor((stop - start, *self.shape[1:]), self.dtype, lambda a, b: self.read(first + a, first + b))

    def at(self, index: int, *, axis: int) -> Tensor:
        """Return the tensor at one index of the first axis (0) or of the second (1)."""
        if axis == 0:
            only = self.part(index, index + 1)
            return Tensor(self.shape[1:], self.dtype, only.read)
        rest = (self.shape[0], *self.shape[2:])
        return Tensor(rest, self.dtype, partial(_strided, self, index, math.prod(rest[1:])))


def _strided(tensor: Tensor, index: int, size: int, start: int, stop: int) -> NDArray[Any]:
    """Read the runs of `size` values at `index` of the second axis."""
    runs = range(start // size, stop // size)
    return np.concatenate([tensor.read(*_run(tensor, row, index, size)) for row in runs])


def _run(tensor: Tensor, row: int, index: int, size: int) -> tuple[int, int]:
    first = (row * tensor.shape[1] + index) * size
    return first, first + size


def in_file(path: Path, offset: int, shape: Sequence[int], dtype: np.dtype[Any], *, name: str) -> Tensor:
    """Return the tensor whose values are stored at `offset` of a file, in row-major order; `name` is its dtype's."""
    return Tensor(tuple(shape), name, partial(read_values, path, offset, dtype))


def read_values(path: Path, offset: int, dtype: np.dtype[Any], start: int, stop: int) -> NDArray[Any]:
    """Return the values from `start` to `stop` of those stored at `offset`."""
    return np.frombuffer(
        read_bytes(path, offset + start * dtype.itemsize, (stop - start) * dtype.itemsize), dtype, count=stop - start
    )


def read_bytes(path: Path, offset: int, count: int) -> bytes:
    """Return `count` bytes at `offset` of a regular file; raises ConfigError if they are not there."""
    try:
        with open_regular(path) as f:
            f.seek(offset)
            data = f.read(count)
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {brief(e)}") from e
    if len(data) != count:
        raise ConfigError(f"{path} is truncated: download or copy it again")
    return data


def joined(parts: Sequence[Tensor], *, axis: int) -> Tensor:
    """Return the concatenation of tensors of the same dtype along axis 0 or 1."""
    first = parts[0]
    if len(parts) == 1:
        return first
    total = sum(part.shape[axis] for part in parts)
    shape = (total, *first.shape[1:]) if axis == 0 else (first.shape[0], total, *first.shape[2:])
    read = partial(_read_stacked, parts) if axis == 0 else partial(_read_side_by_side, parts, math.prod(shape[1:]))
    return Tensor(shape, first.dtype, read)


def _read_stacked(parts: Sequence[Tensor], start: int, stop: int) -> NDArray[Any]:
    found, first = [], 0
    for part in parts:
        size = math.prod(part.shape)
        a, b = max(start - first, 0), min(stop - first, size)
        if a < b:
            found.append(part.read(a, b))
        first += size
    return np.concatenate(found) if found else parts[0].read(0, 0)


def _read_side_by_side(parts: Sequence[Tensor], row_size: int, start: int, stop: int) -> NDArray[Any]:
    a, b = start // row_size, stop // row_size
    return np.concatenate([part.rows(a, b) for part in parts], axis=1).reshape(-1)


def require_file(path: Path) -> int:
    """Return the size of a regular file; raises ConfigError if it is missing or something else."""
    try:
        with open_regular(path) as f:
            return f.seek(0, 2)
    except FileNotFoundError as e:
        raise ConfigError(f"{path} does not exist") from e
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {brief(e)}") from e


Tensors = Mapping[str, Tensor]  # of a file or a folder, by the names that the format gives them
