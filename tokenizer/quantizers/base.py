"""Vector quantization: what a quantizer is, and how a latent finds its code.

A latent becomes the index of a code of a codebook (van den Oord et al., "Neural Discrete Representation Learning",
arXiv 1711.00937). How the codebook is learned differs from quantizer to quantizer (`quantize_*.py`, one file each;
`quantizers.py` has the table); how a code is found is the same for all: a plain codebook `[K, D]` and one of the rules
of `lookup.py`. Training finds its codes by the same rule as encoding does, so the two agree.

Pure functions. Shapes: N latents, K codes, D dim. Cost of the search: 2·N·K·D flops, N·K floats.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from tokenizer.config import VqganConfig

_EPSILON = 1e-12


class Variables(NamedTuple):
    """What a quantizer carries from step to step: two trees of float32 arrays."""

    trained: Any  # moved by the optimizer, with a gradient, and averaged as the weights are
    moved: Any  # moved by the quantizer itself, or by nobody


class Quantized(NamedTuple):
    """What became of a batch of latents."""

    chosen: jax.Array  # [N, D]: the value of the codes; gradients pass to the latents (and where trained, to the codes)
    codes: jax.Array  # [N] int32
    loss: jax.Array  # scalar, weighted, to be minimized with the reconstruction
    moved: Any  # `Variables.moved` of the next step
    terms: dict[str, jax.Array]  # scalars for the log


class Quantizer(Protocol):
    """One way to learn a codebook: a frozen dataclass of its options, with pure functions over `Variables`."""

    def fit(self, model: VqganConfig) -> VqganConfig:
        """Return the model that goes with it: its rule of lookup and, where it decides them, K and D."""

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_use: float) -> Variables:
        """Begin at latents of the data `[N, D]`; `mean_use` is latents a step over codes."""

    def begin(self, codebook: jax.Array, *, mean_use: float) -> Variables:
        """Begin at a codebook `[K, D]`, as `codebook` returns it."""

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Quantize latents `[N, D]`, float32."""

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the plain codebook `[K, D]`, for checkpoints: `lookup.find` in it gives the codes of `quantize`."""


def nearest(latents: jax.Array, codebook: jax.Array) -> jax.Array:
    """Return for latents `[N, D]` the index of the nearest code of `[K, D]`, int32 `[N]`; ties go to the lowest.

    Float32 at the highest matmul precision, whatever the model computes in: at lower precision (the default on
    TPU and GPU) near ties fall otherwise and the codes of a dataset depend on the machine.
    """
    codebook = codebook.astype(jnp.float32)
    # |latent|² is the same for every code
    distances = jnp.square(codebook).sum(-1)[None] - 2.0 * products(latents, codebook)
    return jnp.argmin(distances, axis=-1).astype(jnp.int32)


def products(latents: jax.Array, codebook: jax.Array) -> jax.Array:
    """Return the dot products `[N, K]` of latents and codes, in float32 at the highest precision."""
    latents, codebook = latents.astype(jnp.float32), codebook.astype(jnp.float32)
    return jnp.matmul(latents, codebook.T, precision=jax.lax.Precision.HIGHEST)


def unit(vectors: jax.Array) -> jax.Array:
    """Return `[N, D]` scaled to length 1; zero stays zero."""
    vectors = vectors.astype(jnp.float32)
    return vectors * jax.lax.rsqrt(jnp.maximum(jnp.square(vectors).sum(-1, keepdims=True), _EPSILON))


def straight_through(latents: jax.Array, chosen: jax.Array) -> jax.Array:
    """Return the value of `chosen` with the gradient of `latents`."""
    return latents + jax.lax.stop_gradient(chosen - latents)


def pull(moving: jax.Array, target: jax.Array) -> jax.Array:
    """Return the mean squared distance of two arrays `[N, D]`; only `moving` has a gradient."""
    return jnp.square(moving - jax.lax.stop_gradient(target)).mean()


def draw(latents: jax.Array, key: jax.Array, *, codes: int) -> jax.Array:
    """Return `[codes, D]` of the latents `[N, D]`, each at most once while N suffices."""
    count = latents.shape[0]
    order = jnp.concatenate([jax.random.permutation(k, count) for k in jax.random.split(key, -(-codes // count))])
    return latents[order[:codes]].astype(jnp.float32)


def entropy_loss(logits: jax.Array, temperature: float) -> jax.Array:
    """Return how unsure each choice is, less how evenly all are used; from affinities `[N, K]`.

    The mean entropy of softmax(logits / temperature) less the entropy of its mean over the batch, in nats (Yu et al.,
    "Language Model Beats Diffusion", arXiv 2310.05737): at best -log K.
    """
    log_shares = jax.nn.log_softmax(logits / temperature, axis=-1)
    shares = jnp.exp(log_shares)
    mean = shares.mean(0)
    return -(shares * log_shares).sum(-1).mean() + (mean * jnp.log(mean + 1e-5)).sum()


def perplexity(uses: jax.Array) -> jax.Array:
    """Return exp of the entropy of a histogram `[K]`: K where all codes are used alike, 1 where one code is."""
    share = uses.astype(jnp.float32) / jnp.maximum(uses.sum().astype(jnp.float32), 1e-12)
    return jnp.exp(-jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-30)), 0.0)))
