"""Matrices of the inference form: products with a few tokens or many, and the look-up of columns.

The product of one token reads the whole matrix, so its time is that of reading. bfloat16 halves the bytes, but on a CPU
XLA converts the matrix to float32, in memory, before the product. The product of `Pairs` converts as it reads.

Axes: R rows, I inputs, C columns; J = I / 16, rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import lax

_PARTS = 8  # of the rows of words, whose products are added in one loop
_FEW = 3  # rows with which the product reads the words once for each


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pairs:
    """A matrix [I,C] in bfloat16, two rows in a word, to be multiplied in float32."""

    words: jax.Array  # [8,J,C] uint32: the first half of the rows in the lower bits, the second in the upper
    inputs: int = field(metadata={"static": True})  # I

    @classmethod
    def of(cls, matrix: jax.Array) -> Pairs:
        """Round a matrix [I,C]."""
        inputs = len(matrix)
        bits = lax.bitcast_convert_type(matrix.astype(jnp.bfloat16), jnp.uint16).astype(jnp.uint32)
        lower, upper = jnp.pad(bits, [(0, -inputs % (2 * _PARTS)), (0, 0)]).reshape(2, _PARTS, -1, matrix.shape[1])
        return cls(lower | upper << 16, inputs)


Matrix = jax.Array | Pairs  # [I,C]


def times(rows: jax.Array, matrix: Matrix, dtype: jnp.dtype | None = None) -> jax.Array:
    """Multiply `rows` [R,I] by `matrix` [I,C]: [R,C] in `dtype`, by default that of the rows."""
    if not isinstance(matrix, Pairs):
        return jnp.matmul(rows, matrix, preferred_element_type=dtype)
    # XLA would move the conversion out of a loop over tokens, or convert all matrices at once, and keep them in memory.
    # For few rows a barrier prevents it; for many the conversion has to need the rows.
    if len(rows) > _FEW:
        return jnp.matmul(rows, _unpacked(matrix.words | _zero_of(rows), matrix.inputs))
    words, rows = lax.optimization_barrier((matrix.words, rows))
    halves = jnp.pad(rows, [(0, 0), (0, -matrix.inputs % (2 * _PARTS))])
    return jnp.stack([_row_times(row, words) for row in halves.reshape(len(rows), 2, _PARTS, -1, 1)])


def columns(matrix: Matrix, ids: jax.Array) -> jax.Array:
    """Return the columns `ids` [...] of a matrix [I,C]: [...,I]."""
    if not isinstance(matrix, Pairs):
        return jnp.moveaxis(jnp.take(matrix, ids, axis=1), 0, -1)
    return jnp.moveaxis(_unpacked(jnp.take(matrix.words, ids, axis=2), matrix.inputs), 0, -1)


def _zero_of(rows: jax.Array) -> jax.Array:
    """Return a uint32 that is 0, whatever the rows are."""
    return lax.bitcast_convert_type(rows[0, 0].astype(jnp.float32), jnp.uint32) >> 31 >> 1


def _row_times(row: jax.Array, words: jax.Array) -> jax.Array:
    """Multiply a row [2,8,J,1] by a matrix: [C]."""
    made: jax.Array | None = None
    for first, second, part in zip(*row, words, strict=True):
        lower, upper = _floats(part)
        added = first * lower + second * upper
        made = added if made is None else made + added
    assert made is not None
    # XLA leaves a sum of products to a library, and has the conversion done before it, in memory. It does not do so
    # with rounded numbers; 8 and 23 bits are all that a float32 has.
    return lax.reduce_precision(made, 8, 23).sum(0)


def _unpacked(words: jax.Array, inputs: int) -> jax.Array:
    """Return the first `inputs` rows of [8,J,...] in float32."""
    return jnp.concatenate([x.reshape(-1, *x.shape[2:]) for x in _floats(words)])[:inputs]


def _floats(words: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the numbers in the lower bits and those in the upper ones, in float32."""
    lower, upper = words << 16, words & jnp.uint32(0xFFFF0000)
    return lax.bitcast_convert_type(lower, jnp.float32), lax.bitcast_convert_type(upper, jnp.float32)
