"""Rotary position embedding (Su et al., arXiv 2104.09864), right to the last bits at a position of a million.

A position p turns the pair (i, i + H/2) of a head by the angle p·f_i, f_i = theta^(-2i/H) or a scaled frequency
(`rope_scaling.py`). In float32 that angle is off by 0.05 rad at 1M, in bfloat16 by 64 rad at 32K. So angles are made in
float64 on the host, in two small tables: one for the multiples of 1024 and one for the remainders. A position's cosine
and sine then come from the addition theorem,

    cos(a + b) = cos a cos b - sin a sin b        sin(a + b) = sin a cos b + cos a sin b

which costs two lookups and is off by ~1e-7. One table for a million positions would take 512 MB at H = 128; these take
1 MB each. Pairs lie half a head apart, as in the weights Hugging Face publishes, not side by side as in Meta's.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from trainer.model.llama.rope_scaling import RopeScaling, frequencies

_REMAINDERS = 1024


class Rotation(NamedTuple):
    """Cosines and sines of the angles of every token, each [B,S,H/2] float32, times the amplitude of the scaling."""

    cos: jax.Array
    sin: jax.Array


def rotation(
    positions: jax.Array, *, head_dim: int, theta: float, max_positions: int, scaling: RopeScaling | None = None
) -> Rotation:
    """Return the rotation for `positions` [B,S] int32. Positions at or beyond `max_positions` give NaN."""
    coarse, fine = _tables(head_dim, theta, scaling, max_positions)
    # mode="fill" is what makes a position that no table covers loud: the loss becomes NaN, not slightly wrong.
    cos_a, sin_a = (jnp.take(table, positions // _REMAINDERS, axis=0, mode="fill") for table in coarse)
    cos_b, sin_b = (jnp.take(table, positions % _REMAINDERS, axis=0, mode="fill") for table in fine)
    return Rotation(cos_a * cos_b - sin_a * sin_b, sin_a * cos_b + cos_a * sin_b)


def rotate(x: jax.Array, by: Rotation) -> jax.Array:
    """Turn the heads of `x` [...,heads,H] by the rotation [...,H/2] of their token, in float32; return x's dtype."""
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = by.cos[..., None, :], by.sin[..., None, :]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)


Table = tuple[NDArray[np.float32], NDArray[np.float32]]  # cosines and sines, each [rows, H/2]


@lru_cache(maxsize=8)
def _tables(head_dim: int, theta: float, scaling: RopeScaling | None, max_positions: int) -> tuple[Table, Table]:
    speeds = frequencies(head_dim=head_dim, theta=theta, scaling=scaling)
    coarse = np.arange(-(-max_positions // _REMAINDERS), dtype=np.float64) * _REMAINDERS
    fine = np.arange(_REMAINDERS, dtype=np.float64)
    # The addition theorem multiplies a value of one table by one of the other, so one of them carries the amplitude.
    return _turn(coarse, speeds, amplitude=scaling.amplitude if scaling else 1.0), _turn(fine, speeds, amplitude=1.0)


def _turn(positions: NDArray[np.float64], speeds: NDArray[np.float64], *, amplitude: float) -> Table:
    angles = np.outer(positions, speeds)
    return (amplitude * np.cos(angles)).astype(np.float32), (amplitude * np.sin(angles)).astype(np.float32)
