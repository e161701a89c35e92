"""SimVQ: the codes are a frozen random table times a matrix that is learned, so that all of them move together.

Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer" (arXiv 2411.02038).
A code that nobody chooses is carried along by those that are chosen. The exported codebook has the map multiplied in.
The matrix and shift begin so that the codes have the mean and the covariance of the data's latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tokenizer.config import VqganConfig, require_weights
from tokenizer.quantizers.base import Quantized, Variables, nearest, pull, straight_through


class Map(NamedTuple):
    """A linear map."""

    matrix: jax.Array  # [D, D]
    shift: jax.Array  # [D]


@dataclass(frozen=True, kw_only=True)
class SimvqConfig:
    """Weights of its losses."""

    commitment: float = 0.25  # of the latents' squared distance to their codes
    codes: float = 1.0  # of the codes' squared distance to their latents

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        require_weights(self, "commitment", "codes")

    def fit(self, model: VqganConfig) -> VqganConfig:
        """Return the model as it is."""
        return model

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_use: float) -> Variables:
        """Draw the table from a normal distribution, and fit the map to the latents `[N, D]`."""
        dim = latents.shape[1]
        centered = latents - latents.mean(0, keepdims=True)
        covariance = jnp.einsum("nd,ne->de", centered, centered, precision=jax.lax.Precision.HIGHEST) / len(latents)
        covariance += (1e-6 + 1e-4 * jnp.trace(covariance) / dim) * jnp.eye(dim)  # latents of a few frames lack rank
        table = jax.random.normal(key, (codes, dim), jnp.float32)
        return Variables(Map(jnp.linalg.cholesky(covariance).T, latents.mean(0)), table)

    def begin(self, codebook: jax.Array, *, mean_use: float) -> Variables:
        """Begin with `[K, D]` as the table, and a map that changes nothing."""
        dim = codebook.shape[1]
        return Variables(Map(jnp.eye(dim), jnp.zeros(dim)), codebook)

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Choose the nearest of the mapped codes."""
        codebook = self.codebook(variables)
        codes = nearest(latents, codebook)
        chosen = codebook[codes]
        commitment = pull(latents, chosen)
        loss = self.commitment * commitment + self.codes * pull(chosen, latents)
        terms = {"commitment": commitment}
        return Quantized(straight_through(latents, chosen), codes, loss, variables.moved, terms)

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the mapped table."""
        table = jax.lax.stop_gradient(variables.moved)
        mapped = jnp.matmul(table, variables.trained.matrix, precision=jax.lax.Precision.HIGHEST)
        return mapped + variables.trained.shift[None]
