"""How one of our parameters is laid out in a published tensor, and conversion between both, some rows at a time.

Ours are [inputs..., outputs...] with heads apart (`trainer/model/llama/layer.py`), for example a query [D,N,H].
Published tensors are matrices or vectors: LWM's are (inputs, outputs), all others (outputs, inputs). Rotary embeddings
turn pairs of a head's values: ours and Hugging Face's are half a head apart, (i, i + H/2); Meta's, LWM's and those of
GGUF's architecture llama lie side by side, (2i, 2i + 1).

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

BLOCK_BYTES = 16 << 20  # of the float32 values that are converted at a time


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout of one parameter (of one layer) in a published tensor."""

    shape: tuple[int, ...]  # ours
    inputs: int = 1  # number of our dims that are inputs of the matrix
    is_vector: bool = False
    transposed: bool = False  # the rows of the published matrix are outputs
    interleaved: bool = False  # pairs of the last dim lie side by side

    @property
    def published(self) -> tuple[int, ...]:
        """The shape of the published tensor."""
        if self.is_vector:
            return (math.prod(self.shape),)
        matrix = (math.prod(self.shape[: self.inputs]), math.prod(self.shape[self.inputs :]))
        return matrix[::-1] if self.transposed else matrix

    @property
    def split(self) -> int:
        """Our dim that the published rows are indices of."""
        return self.inputs if self.transposed else 0

    @property
    def unit(self) -> int:
        """Published rows of one index of the dim `split`, for example H where heads are apart."""
        if self.is_vector:
            return math.prod(self.shape[1:])
        return math.prod(self.shape[self.inputs + 1 :] if self.transposed else self.shape[1 : self.inputs])

    @property
    def step(self) -> int:
        """Indices of the dim `split` that make a block."""
        one = 4 * math.prod(self.shape) // self.shape[self.split]
        return max(1, min(self.shape[self.split], BLOCK_BYTES // max(one, 1)))

    def blocks(self, step: int) -> Iterator[tuple[int, int]]:
        """Yield start and stop of the dim `split`, `step` indices each time."""
        size = self.shape[self.split]
        return ((start, min(start + step, size)) for start in range(0, size, step))

    def region(self, start: int, stop: int) -> tuple[slice, ...]:
        """Return the index of a block in our array."""
        return tuple(slice(start, stop) if dim == self.split else slice(0, n) for dim, n in enumerate(self.shape))

    def from_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Convert whole units of published rows to the block of our array."""
        ours = list(self.shape)
        ours[self.split] = len(rows) // self.unit
        block = (rows.T if self.transposed else rows).reshape(ours)
        if not self.interleaved:
            return block
        return block.reshape(*ours[:-1], -1, 2).swapaxes(-1, -2).reshape(ours)

    def to_rows(self, block: NDArray[Any]) -> NDArray[Any]:
        """Convert a block of our array to published rows; the inverse of `from_rows`."""
        if self.interleaved:
            block = block.reshape(*block.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(block.shape)
        if self.is_vector:
            return block.reshape(-1)
        matrix = block.reshape(math.prod(block.shape[: self.inputs]), -1)
        return matrix.T if self.transposed else matrix
