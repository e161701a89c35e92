"""SimVQ: the codes are a frozen random table multiplied by a learned matrix, so every update moves all codes.

Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer" (arXiv 2411.02038).
Unused codes are updated with the used ones. The exported codebook is the product of table and matrix. Matrix and shift
are initialized such that the codes have the mean and covariance of the data's latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tokenizer.config import VqganConfig, require_weights
from tokenizer.quantizers.base import Quantized, Variables, mse_to_target, nearest_codes, straight_through


class AffineMap(NamedTuple):
    """An affine map of the table."""

    matrix: jax.Array  # [D, D]
    shift: jax.Array  # [D]


@dataclass(frozen=True, kw_only=True)
class SimvqConfig:
    """Weights of the losses."""

    commitment: float = 0.25  # of the squared distance of latents to their codes
    codes: float = 1.0  # of the squared distance of codes to their latents

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        require_weights(self, "commitment", "codes")

    def configure(self, model: VqganConfig) -> VqganConfig:
        """Return the model unchanged."""
        return model

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_count: float) -> Variables:
        """Sample the table from a normal distribution, and fit the map to the latents `[N, D]`."""
        dim = latents.shape[1]
        centered = latents - latents.mean(0, keepdims=True)
        covariance = jnp.einsum("nd,ne->de", centered, centered, precision=jax.lax.Precision.HIGHEST) / len(latents)
        # The covariance of a few frames is singular.
        covariance += (1e-6 + 1e-4 * jnp.trace(covariance) / dim) * jnp.eye(dim)
        table = jax.random.normal(key, (codes, dim), jnp.float32)
        return Variables(AffineMap(jnp.linalg.cholesky(covariance).T, latents.mean(0)), table)

    def init_from_codebook(self, codebook: jax.Array, *, mean_count: float) -> Variables:
        """Initialize with `[K, D]` as the table, and the identity as the map."""
        dim = codebook.shape[1]
        return Variables(AffineMap(jnp.eye(dim), jnp.zeros(dim)), codebook)

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Assign the nearest of the mapped codes."""
        codebook = self.codebook(variables)
        codes = nearest_codes(latents, codebook)
        values = codebook[codes]
        commitment = mse_to_target(latents, values)
        loss = self.commitment * commitment + self.codes * mse_to_target(values, latents)
        metrics = {"commitment": commitment}
        return Quantized(straight_through(latents, values), codes, loss, variables.state, metrics)

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the mapped table."""
        table = jax.lax.stop_gradient(variables.state)
        mapped = jnp.matmul(table, variables.params.matrix, precision=jax.lax.Precision.HIGHEST)
        return mapped + variables.params.shift[None]
