"""Vector quantisation with a codebook that follows the data by moving averages.

A latent becomes the index of its nearest code (van den Oord et al., "Neural Discrete Representation Learning",
arXiv 1711.00937). The codebook has no gradient: each code is a moving average of the latents that chose it
(appendix A.1 there). It begins as latents of the data, and a code that is chosen less than a fraction of the
*mean* use is set down again on a latent of the batch (Dhariwal et al., "Jukebox", arXiv 2005.00341, restarts by
an absolute count; relative to the mean it works for any codebook size and batch).

Pure functions over a state. Shapes: N latents, K codes, D dim. Cost of the search: 2·N·K·D flops, N·K floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """How the codebook follows the latents."""

    decay: float = 0.99  # of the moving averages, a step
    restart_below: float = 0.25  # times the mean use; 0 never restarts a code

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        for field, value in (("decay", self.decay), ("restart_below", self.restart_below)):
            if not 0 <= value < 1:
                raise ConfigError(f"{field} must be in [0, 1), got {value}")


class EmaState(NamedTuple):
    """What the quantiser carries from step to step; all float32."""

    codebook: jax.Array  # [K, D]
    uses: jax.Array  # [K] moving average of how many latents of a batch chose the code
    sums: jax.Array  # [K, D] moving average of the sum of those latents


def nearest(latents: jax.Array, codebook: jax.Array) -> jax.Array:
    """Return for latents `[N, D]` the index of the nearest code of `[K, D]`, int32 `[N]`; ties go to the lowest.

    Float32 at the highest matmul precision, whatever the model computes in: at lower precision (the default on
    TPU and GPU) near ties fall otherwise and the codes of a dataset depend on the machine.
    """
    latents, codebook = latents.astype(jnp.float32), codebook.astype(jnp.float32)
    products = jnp.matmul(latents, codebook.T, precision=jax.lax.Precision.HIGHEST)
    distances = jnp.square(codebook).sum(-1)[None] - 2.0 * products  # |latent|² is the same for every code
    return jnp.argmin(distances, axis=-1).astype(jnp.int32)


def init_from_data(latents: jax.Array, key: jax.Array, *, codes: int, uses: float) -> EmaState:
    """Return a state whose codes are latents drawn from `[N, D]`, each at most once while N suffices.

    `uses` is the mean use to expect, latents a batch over codes: a code that nobody chooses falls below it at once.
    """
    count = latents.shape[0]
    order = jnp.concatenate([jax.random.permutation(k, count) for k in jax.random.split(key, -(-codes // count))])
    return from_codebook(latents[order[:codes]].astype(jnp.float32), uses=uses)


def from_codebook(codebook: jax.Array, *, uses: float) -> EmaState:
    """Return a state that begins at `codebook` `[K, D]`, every code used equally."""
    return EmaState(codebook, jnp.full(codebook.shape[0], uses, jnp.float32), codebook * uses)


def update(
    state: EmaState, latents: jax.Array, codes: jax.Array, key: jax.Array, *, config: EmaConfig
) -> tuple[EmaState, jax.Array]:
    """Move the codebook towards a batch of latents `[N, D]` with their codes `[N]`.

    Returns the new state and how many codes were restarted (int32). A restarted code is given the mean use, so
    it has log(restart_below)/log(decay) steps before it can be judged again.
    """
    size = state.codebook.shape[0]
    chosen = jax.nn.one_hot(codes, size, dtype=jnp.float32)  # [N, K]; a matmul, as scatter-adds have no fixed order
    precision = jax.lax.Precision.HIGHEST
    batch_sums = jnp.einsum("nk,nd->kd", chosen, latents.astype(jnp.float32), precision=precision)
    uses = config.decay * state.uses + (1 - config.decay) * chosen.sum(0)
    sums = config.decay * state.sums + (1 - config.decay) * batch_sums

    mean_use = uses.mean()
    unused = uses < config.restart_below * mean_use
    picks = latents[jax.random.randint(key, (size,), 0, latents.shape[0])].astype(jnp.float32)
    uses = jnp.where(unused, mean_use, uses)
    sums = jnp.where(unused[:, None], picks * mean_use, sums)
    return EmaState(sums / jnp.maximum(uses, 1e-12)[:, None], uses, sums), unused.sum().astype(jnp.int32)


def perplexity(uses: jax.Array) -> jax.Array:
    """Return exp of the entropy of a histogram `[K]`: K where all codes are used alike, 1 where one code is."""
    share = uses.astype(jnp.float32) / jnp.maximum(uses.sum().astype(jnp.float32), 1e-12)
    return jnp.exp(-jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-30)), 0.0)))
