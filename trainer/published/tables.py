"""New rows of embeddings and heads: ids that the source does not have, such as the codes of a VQGAN.

They are drawn from a normal distribution with the standard deviation of the rows that the source has, so new ids start
on the scale of the known ones. A row depends on the seed, the table and its number only.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.published.files.tensor import Tensor

_ROWS = 256  # made by one generator
_MAX_SAMPLE = 1 << 22  # values that the standard deviation is estimated from


@dataclass(frozen=True, kw_only=True)
class NewRows:
    """The new rows of one table."""

    table: str
    dim: int
    deviation: float
    seed: int

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the rows from `start` to `stop`, [stop - start, D]."""
        first = start // _ROWS
        made = [self._block(i) for i in range(first, -(-stop // _ROWS))]
        return np.concatenate(made)[start - first * _ROWS : stop - first * _ROWS]

    def _block(self, number: int) -> NDArray[np.float32]:
        generator = np.random.Generator(np.random.Philox([self.seed, zlib.crc32(self.table.encode()), number]))
        return generator.standard_normal((_ROWS, self.dim), np.float32) * np.float32(self.deviation)


def deviation(tensor: Tensor) -> float:
    """Return the standard deviation of the first rows of a table."""
    rows = max(1, min(tensor.shape[0], _MAX_SAMPLE // max(tensor.row_size, 1)))
    return float(np.std(tensor.rows(0, rows).astype(np.float64)))
