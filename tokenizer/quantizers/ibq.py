"""IBQ: the gradient of every latent reaches every code.

Shi et al., "Scalable Image Tokenization with Index Backpropagation Quantization" (arXiv 2412.02692). A latent chooses
the code of the largest dot product. Forward it is that code; backward it is the softmax over all codes, so the whole
codebook moves with the encoder. Its double quantization loss pulls the latents to the soft and to the hard choice, and
the codes to the latents; an entropy loss asks for sure choices and for all codes. Where the paper's code puts its
beta on the codes' pull, so does this.

Cost: the softmax is N·K floats, three times, kept for the way back.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from schemas.errors import ConfigError
from tokenizer.config import VqganConfig, require_weights
from tokenizer.quantizers.base import Quantized, Variables, draw, entropy_loss, products, pull, straight_through


@dataclass(frozen=True, kw_only=True)
class IbqConfig:
    """Weights of its losses."""

    commitment: float = 1.0  # of the latents' squared distance to their codes, soft and hard
    codes: float = 0.25  # of the codes' squared distance to their latents
    entropy: float = 0.05  # of the entropy loss: sure choices, and all codes in use
    temperature: float = 0.01  # of the entropy's softmax

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        require_weights(self, "commitment", "codes", "entropy")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, got {self.temperature}")

    def fit(self, model: VqganConfig) -> VqganConfig:
        """Return the model with a lookup by inner product."""
        return dataclasses.replace(model, lookup="product")

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_use: float) -> Variables:
        """Begin at latents drawn from `[N, D]`, freed of their mean and of one length: of two, the longer always wins.

        The length is the mean one of the latents.
        """
        drawn = draw(latents, key, codes=codes) - latents.mean(0, keepdims=True)
        lengths = jnp.sqrt(jnp.square(drawn).sum(-1, keepdims=True))
        return self.begin(drawn * (lengths.mean() / jnp.maximum(lengths, 1e-6)), mean_use=mean_use)

    def begin(self, codebook: jax.Array, *, mean_use: float) -> Variables:
        """Begin at `[K, D]`."""
        return Variables(codebook, ())

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Choose by the largest product."""
        codebook: jax.Array = variables.trained
        logits = products(latents, codebook)
        codes = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        soft = jax.nn.softmax(logits, axis=-1)
        hard = jax.nn.one_hot(codes, codebook.shape[0], dtype=jnp.float32)
        index = hard + soft - jax.lax.stop_gradient(soft)
        through = jnp.matmul(index, codebook, precision=jax.lax.Precision.HIGHEST)
        plain = codebook[codes]
        # Up to rounding `through` is `plain` already; the decoder is to see exactly what an export gives it.
        chosen = straight_through(through, plain)
        double = jnp.square(chosen - latents).mean() + pull(latents, plain)
        entropy = entropy_loss(logits, self.temperature)
        loss = self.commitment * double + self.codes * pull(plain, latents) + self.entropy * entropy
        return Quantized(chosen, codes, loss, (), {"commitment": double, "entropy": entropy})

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the codebook."""
        codebook: jax.Array = variables.trained
        return codebook
