"""Codes of length 1 in few dims, compared by direction, with a loss on the entropy of their use.

Yu et al., "Vector-quantized Image Modeling with Improved VQGAN" (arXiv 2110.04627): a low-dimensional, l2-normalized
codebook. The entropy loss of arXiv 2310.05737 keeps its codes in use.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from schemas.errors import ConfigError
from tokenizer.config import VqganConfig, require_weights
from tokenizer.quantizers.base import Quantized, Variables, draw, entropy_loss, products, pull, straight_through, unit
from tokenizer.quantizers.lookup import find


@dataclass(frozen=True, kw_only=True)
class L2Config:
    """Size of the codes and weights of the losses."""

    dim: int = 8  # of latents and codes
    commitment: float = 0.25  # of the latents' squared distance to their codes
    codes: float = 1.0  # of the codes' squared distance to their latents
    entropy: float = 0.05  # of the entropy loss: sure choices, and all codes in use
    temperature: float = 0.01  # of the entropy's softmax

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        require_weights(self, "commitment", "codes", "entropy")
        if self.dim < 1:
            raise ConfigError(f"dim must be at least 1, got {self.dim}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, got {self.temperature}")

    def fit(self, model: VqganConfig) -> VqganConfig:
        """Return the model with codes of `dim`, looked up by product: among codes of one length, by direction."""
        return dataclasses.replace(model, latent_dim=self.dim, lookup="product")

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_use: float) -> Variables:
        """Begin at latents drawn from `[N, D]`."""
        return self.begin(draw(latents, key, codes=codes), mean_use=mean_use)

    def begin(self, codebook: jax.Array, *, mean_use: float) -> Variables:
        """Begin at `[K, D]`; only directions count."""
        return Variables(unit(codebook), ())

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Choose the code of the nearest direction; what the decoder gets has length 1."""
        codebook, latents = self.codebook(variables), unit(latents)
        codes = find(latents, codebook, lookup="product")
        chosen = codebook[codes]
        commitment = pull(latents, chosen)
        # Half the squared distance of unit vectors is 1 - product, and softmax does not see the 1; hence the 2.
        entropy = entropy_loss(2.0 * products(latents, codebook), self.temperature)
        loss = self.commitment * commitment + self.codes * pull(chosen, latents) + self.entropy * entropy
        terms = {"commitment": commitment, "entropy": entropy}
        return Quantized(straight_through(latents, chosen), codes, loss, (), terms)

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the codes at length 1."""
        return unit(jnp.asarray(variables.trained))
