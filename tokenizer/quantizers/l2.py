"""A low-dimensional, L2-normalized codebook with an entropy loss.

Yu et al., "Vector-quantized Image Modeling with Improved VQGAN" (arXiv 2110.04627). Latents and codes are compared by
direction. The entropy loss of arXiv 2310.05737 favors the use of all codes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from schemas.errors import ConfigError
from tokenizer.config import VqganConfig, require_weights
from tokenizer.quantizers.base import (
    Quantized,
    Variables,
    entropy_loss,
    inner_products,
    mse_to_target,
    normalize,
    sample_latents,
    straight_through,
)
from tokenizer.quantizers.lookup import find_codes


@dataclass(frozen=True, kw_only=True)
class L2Config:
    """Dimension of the codes and weights of the losses."""

    dim: int = 8  # of latents and codes
    commitment: float = 0.25  # of the squared distance of latents to their codes
    codes: float = 1.0  # of the squared distance of codes to their latents
    entropy: float = 0.05  # of the entropy loss
    temperature: float = 0.01  # of the softmax in the entropy loss

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        require_weights(self, "commitment", "codes", "entropy")
        if self.dim < 1:
            raise ConfigError(f"dim must be at least 1, got {self.dim}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, got {self.temperature}")

    def configure(self, model: VqganConfig) -> VqganConfig:
        """Return the model with D = `dim` and lookup by inner product, which compares directions at equal lengths."""
        return dataclasses.replace(model, latent_dim=self.dim, lookup="product")

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_count: float) -> Variables:
        """Initialize with random latents of `[N, D]`."""
        return self.init_from_codebook(sample_latents(latents, key, codes=codes), mean_count=mean_count)

    def init_from_codebook(self, codebook: jax.Array, *, mean_count: float) -> Variables:
        """Initialize with `[K, D]`, normalized."""
        return Variables(normalize(codebook), ())

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Assign the codes with the nearest direction; the values have length 1."""
        codebook, latents = self.codebook(variables), normalize(latents)
        codes = find_codes(latents, codebook, lookup="product")
        values = codebook[codes]
        commitment = mse_to_target(latents, values)
        # The squared distance of unit vectors is 2 - 2·product, and softmax is invariant to the constant.
        entropy = entropy_loss(2.0 * inner_products(latents, codebook), self.temperature)
        loss = self.commitment * commitment + self.codes * mse_to_target(values, latents) + self.entropy * entropy
        metrics = {"commitment": commitment, "entropy": entropy}
        return Quantized(straight_through(latents, values), codes, loss, (), metrics)

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the normalized codes."""
        return normalize(jnp.asarray(variables.params))
