"""IBQ: index backpropagation, in which the gradient of every latent reaches every code.

Shi et al., "Scalable Image Tokenization with Index Backpropagation Quantization" (arXiv 2412.02692). A latent is
assigned the code with the largest inner product. The forward pass uses that code; the backward pass uses the softmax
over all codes, so the encoder updates the whole codebook. The double quantization loss moves the latents toward the
soft and the hard assignment, and the codes toward the latents. The entropy loss favors confident assignments and the
use of all codes. As in the paper's code, beta weights the loss of the codes.

Cost: the backward pass keeps three arrays of N·K floats.
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
    sample_latents,
    straight_through,
)


@dataclass(frozen=True, kw_only=True)
class IbqConfig:
    """Weights of the losses."""

    commitment: float = 1.0  # of the squared distance of latents to their codes, soft and hard
    codes: float = 0.25  # of the squared distance of codes to their latents
    entropy: float = 0.05  # of the entropy loss
    temperature: float = 0.01  # of the softmax in the entropy loss

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        require_weights(self, "commitment", "codes", "entropy")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, got {self.temperature}")

    def configure(self, model: VqganConfig) -> VqganConfig:
        """Return the model with lookup by inner product."""
        return dataclasses.replace(model, lookup="product")

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_count: float) -> Variables:
        """Initialize with random latents of `[N, D]`, centered and scaled to their mean length.

        Codes of different lengths would not compete: the inner product favors the longer one.
        """
        sampled = sample_latents(latents, key, codes=codes) - latents.mean(0, keepdims=True)
        lengths = jnp.sqrt(jnp.square(sampled).sum(-1, keepdims=True))
        return self.init_from_codebook(sampled * (lengths.mean() / jnp.maximum(lengths, 1e-6)), mean_count=mean_count)

    def init_from_codebook(self, codebook: jax.Array, *, mean_count: float) -> Variables:
        """Initialize with `[K, D]`."""
        return Variables(codebook, ())

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Assign the codes with the largest inner product."""
        codebook: jax.Array = variables.params
        logits = inner_products(latents, codebook)
        codes = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        soft = jax.nn.softmax(logits, axis=-1)
        hard = jax.nn.one_hot(codes, codebook.shape[0], dtype=jnp.float32)
        index = hard + soft - jax.lax.stop_gradient(soft)
        through = jnp.matmul(index, codebook, precision=jax.lax.Precision.HIGHEST)
        plain = codebook[codes]
        # `through` equals `plain` up to rounding; the decoder must receive exactly the exported codes.
        values = straight_through(through, plain)
        double = jnp.square(values - latents).mean() + mse_to_target(latents, plain)
        entropy = entropy_loss(logits, self.temperature)
        loss = self.commitment * double + self.codes * mse_to_target(plain, latents) + self.entropy * entropy
        return Quantized(values, codes, loss, (), {"commitment": double, "entropy": entropy})

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the codebook."""
        codebook: jax.Array = variables.params
        return codebook
