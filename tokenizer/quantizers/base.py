"""Vector quantization: the protocol of a quantizer, and the functions that quantizers share.

A latent is replaced by the index of a code in a codebook (van den Oord et al., "Neural Discrete Representation
Learning", arXiv 1711.00937). Quantizers differ in how they learn the codebook: one module each, listed in
`registry.py`. The assignment of codes is the same for all: a plain codebook `[K, D]` and one of the rules in
`lookup.py`. Training and encoding use the same rule, so their codes agree.

Pure functions. Shapes: N latents, K codes, D dim. Cost of the search: 2·N·K·D flops, N·K floats.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from tokenizer.config import VqganConfig

_EPSILON = 1e-12


class Variables(NamedTuple):
    """The variables of a quantizer: two trees of float32 arrays."""

    params: Any  # updated by the optimizer, and averaged like the weights of the model
    state: Any  # updated by the quantizer itself, or constant


class Quantized(NamedTuple):
    """A quantized batch of latents."""

    values: jax.Array  # [N, D], of the codes; gradients pass to the latents (and to the codes, if they are parameters)
    codes: jax.Array  # [N] int32
    loss: jax.Array  # scalar, weighted, added to the reconstruction loss
    state: Any  # `Variables.state` of the next step
    metrics: dict[str, jax.Array]  # scalars for the log


class Quantizer(Protocol):
    """A method of learning a codebook: a frozen dataclass of its options, with pure functions of `Variables`."""

    def configure(self, model: VqganConfig) -> VqganConfig:
        """Return the model with the lookup rule of this quantizer and, if it determines them, K and D."""

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_count: float) -> Variables:
        """Initialize from latents of the data `[N, D]`; `mean_count` is the number of latents per step and code."""

    def init_from_codebook(self, codebook: jax.Array, *, mean_count: float) -> Variables:
        """Initialize from a codebook `[K, D]`, as returned by `codebook`."""

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Quantize latents `[N, D]`, float32."""

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the plain codebook `[K, D]` for checkpoints; `find_codes` in it gives the codes of `quantize`."""


def nearest_codes(latents: jax.Array, codebook: jax.Array) -> jax.Array:
    """Return the index of the nearest code of `[K, D]` for each of the latents `[N, D]`, int32 `[N]`.

    The lowest index wins a tie. Computes in float32 at the highest matmul precision, independently of the model's
    dtype: at lower precision (the default on TPU and GPU) near ties resolve differently, and the codes of a dataset
    would depend on the machine.
    """
    codebook = codebook.astype(jnp.float32)
    # |latent|² is omitted, as it is the same for every code
    distances = jnp.square(codebook).sum(-1)[None] - 2.0 * inner_products(latents, codebook)
    return jnp.argmin(distances, axis=-1).astype(jnp.int32)


def inner_products(latents: jax.Array, codebook: jax.Array) -> jax.Array:
    """Return the inner products `[N, K]` of latents and codes, in float32 at the highest precision."""
    latents, codebook = latents.astype(jnp.float32), codebook.astype(jnp.float32)
    return jnp.matmul(latents, codebook.T, precision=jax.lax.Precision.HIGHEST)


def normalize(vectors: jax.Array) -> jax.Array:
    """Return vectors `[N, D]` scaled to length 1; zero stays zero."""
    vectors = vectors.astype(jnp.float32)
    return vectors * jax.lax.rsqrt(jnp.maximum(jnp.square(vectors).sum(-1, keepdims=True), _EPSILON))


def straight_through(latents: jax.Array, values: jax.Array) -> jax.Array:
    """Return `values` with the gradient of `latents`."""
    return latents + jax.lax.stop_gradient(values - latents)


def mse_to_target(values: jax.Array, target: jax.Array) -> jax.Array:
    """Return the mean squared distance of two arrays `[N, D]`; only `values` has a gradient."""
    return jnp.square(values - jax.lax.stop_gradient(target)).mean()


def sample_latents(latents: jax.Array, key: jax.Array, *, codes: int) -> jax.Array:
    """Return `[codes, D]` random latents of `[N, D]`, without replacement if N is at least `codes`."""
    count = latents.shape[0]
    order = jnp.concatenate([jax.random.permutation(k, count) for k in jax.random.split(key, -(-codes // count))])
    return latents[order[:codes]].astype(jnp.float32)


def entropy_loss(logits: jax.Array, temperature: float) -> jax.Array:
    """Return the entropy of the assignments minus the entropy of their mean, in nats, from affinities `[N, K]`.

    The first term is the mean entropy of softmax(logits / temperature), the second the entropy of its mean over the
    batch (Yu et al., "Language Model Beats Diffusion", arXiv 2310.05737). The minimum, for confident assignments that
    use all codes equally, is -log K.
    """
    log_probabilities = jax.nn.log_softmax(logits / temperature, axis=-1)
    probabilities = jnp.exp(log_probabilities)
    mean = probabilities.mean(0)
    return -(probabilities * log_probabilities).sum(-1).mean() + (mean * jnp.log(mean + 1e-5)).sum()


def perplexity(counts: jax.Array) -> jax.Array:
    """Return exp of the entropy of a histogram `[K]`: K if all codes are equally frequent, 1 if only one occurs."""
    share = counts.astype(jnp.float32) / jnp.maximum(counts.sum().astype(jnp.float32), 1e-12)
    return jnp.exp(-jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-30)), 0.0)))
