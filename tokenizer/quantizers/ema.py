"""A codebook of exponential moving averages: the default.

The codebook has no gradient: each code is a moving average of the latents assigned to it (van den Oord et al., arXiv
1711.00937, appendix A.1). It is initialized with latents of the data. A code whose moving count falls below a fraction
of the mean count is restarted at a random latent of the batch. Dhariwal et al. ("Jukebox", arXiv 2005.00341) restart
below an absolute count; a count relative to the mean works for any codebook size and batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from schemas.errors import ConfigError
from tokenizer.config import VqganConfig, require_weights
from tokenizer.quantizers.base import (
    Quantized,
    Variables,
    mse_to_target,
    nearest_codes,
    sample_latents,
    straight_through,
)


class EmaState(NamedTuple):
    """The state of the codebook; all float32."""

    codebook: jax.Array  # [K, D]
    counts: jax.Array  # [K] moving average of the number of latents per batch that are assigned to the code
    sums: jax.Array  # [K, D] moving average of the sum of those latents


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """Options of the moving averages."""

    decay: float = 0.99  # of the moving averages, per step
    restart_below: float = 0.25  # times the mean count; 0 never restarts a code
    commitment: float = 0.25  # weight of the squared distance of latents to their codes

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        for field, value in (("decay", self.decay), ("restart_below", self.restart_below)):
            if not 0 <= value < 1:
                raise ConfigError(f"{field} must be in [0, 1), got {value}")
        require_weights(self, "commitment")

    def configure(self, model: VqganConfig) -> VqganConfig:
        """Return the model unchanged."""
        return model

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_count: float) -> Variables:
        """Initialize with random latents of `[N, D]`."""
        return self.init_from_codebook(sample_latents(latents, key, codes=codes), mean_count=mean_count)

    def init_from_codebook(self, codebook: jax.Array, *, mean_count: float) -> Variables:
        """Initialize with `[K, D]` and equal counts, so that an unused code falls below the mean at once."""
        counts = jnp.full(codebook.shape[0], mean_count, jnp.float32)
        return Variables((), EmaState(codebook, counts, codebook * mean_count))

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Assign the nearest codes, then update them."""
        state: EmaState = variables.state
        codes = nearest_codes(latents, state.codebook)
        values = state.codebook[codes]
        commitment = mse_to_target(latents, values)
        updated, restarted = update(state, jax.lax.stop_gradient(latents), codes, key, config=self)
        metrics = {"commitment": commitment, "restarted": restarted.astype(jnp.float32)}
        return Quantized(straight_through(latents, values), codes, self.commitment * commitment, updated, metrics)

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the codebook."""
        codebook: jax.Array = variables.state.codebook
        return codebook


def update(
    state: EmaState, latents: jax.Array, codes: jax.Array, key: jax.Array, *, config: EmaConfig
) -> tuple[EmaState, jax.Array]:
    """Update the codebook with a batch of latents `[N, D]` and their codes `[N]`.

    Returns the new state and the number of restarted codes (int32). A restarted code gets the mean count, so it cannot
    be restarted again for log(restart_below)/log(decay) steps.
    """
    size = state.codebook.shape[0]
    # [N, K]: sums are matmuls, as the order of scatter-adds is undefined.
    assigned = jax.nn.one_hot(codes, size, dtype=jnp.float32)
    precision = jax.lax.Precision.HIGHEST
    batch_sums = jnp.einsum("nk,nd->kd", assigned, latents.astype(jnp.float32), precision=precision)
    counts = config.decay * state.counts + (1 - config.decay) * assigned.sum(0)
    sums = config.decay * state.sums + (1 - config.decay) * batch_sums

    mean_count = counts.mean()
    unused = counts < config.restart_below * mean_count
    picks = latents[jax.random.randint(key, (size,), 0, latents.shape[0])].astype(jnp.float32)
    counts = jnp.where(unused, mean_count, counts)
    sums = jnp.where(unused[:, None], picks * mean_count, sums)
    return EmaState(sums / jnp.maximum(counts, 1e-12)[:, None], counts, sums), unused.sum().astype(jnp.int32)
