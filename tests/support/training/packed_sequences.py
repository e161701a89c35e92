"""Random packed sequences for the trainer's tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.vocab import Vocabulary

VOCABULARY = Vocabulary(
    text_size=37,
    codebook_size=11,
    bos_id=1,
    eos_id=2,
    begin_vision=(5,),
    end_vision=(6,),
    text_sha256="0" * 64,
    vision_sha256="1" * 64,
)


class Packed(NamedTuple):
    """Rows of documents, and what is left as padding: all [B,S] int32."""

    tokens: NDArray[np.int32]
    segment_ids: NDArray[np.int32]
    positions: NDArray[np.int32]

    def permuted(self, order: NDArray[np.int64]) -> Packed:
        return Packed(*(x[:, order] for x in self))


def packed(rng: np.random.Generator, *, rows: int, length: int, longest: int) -> Packed:
    """Fill rows with documents of random lengths up to `longest`, then padding of up to a quarter of the row."""
    result = Packed(*(np.zeros((rows, length), np.int32) for _ in range(3)))
    for row in range(rows):
        start, document, end = 0, 1, length - int(rng.integers(0, length // 4 + 1))
        while start < end:
            n = min(int(rng.integers(1, longest + 1)), end - start)
            place = slice(start, start + n)
            result.tokens[row, place] = rng.integers(0, VOCABULARY.size, n)
            result.segment_ids[row, place], result.positions[row, place] = document, np.arange(n)
            start, document = start + n, document + 1
    return result


def random_order(rng: np.random.Generator, length: int) -> NDArray[np.int64]:
    """Return a random permutation of a sequence."""
    return rng.permutation(length).astype(np.int64)
