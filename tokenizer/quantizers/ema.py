"""A codebook that follows the data by moving averages: the default.

The codebook has no gradient: each code is a moving average of the latents that chose it (van den Oord et al., arXiv
1711.00937, appendix A.1). It begins as latents of the data, and a code that is chosen less than a fraction of the
*mean* use is set down again on a latent of the batch (Dhariwal et al., "Jukebox", arXiv 2005.00341, restarts by an
absolute count; relative to the mean it works for any codebook size and batch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from schemas.errors import ConfigError
from tokenizer.config import VqganConfig, require_weights
from tokenizer.quantizers.base import Quantized, Variables, draw, nearest, pull, straight_through


class EmaState(NamedTuple):
    """What moves; all float32."""

    codebook: jax.Array  # [K, D]
    uses: jax.Array  # [K] moving average of how many latents of a batch chose the code
    sums: jax.Array  # [K, D] moving average of the sum of those latents


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """How the codebook follows the latents."""

    decay: float = 0.99  # of the moving averages, a step
    restart_below: float = 0.25  # times the mean use; 0 never restarts a code
    commitment: float = 0.25  # weight of a latent's squared distance to its code

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        for field, value in (("decay", self.decay), ("restart_below", self.restart_below)):
            if not 0 <= value < 1:
                raise ConfigError(f"{field} must be in [0, 1), got {value}")
        require_weights(self, "commitment")

    def fit(self, model: VqganConfig) -> VqganConfig:
        """Return the model as it is."""
        return model

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_use: float) -> Variables:
        """Begin at latents drawn from `[N, D]`."""
        return self.begin(draw(latents, key, codes=codes), mean_use=mean_use)

    def begin(self, codebook: jax.Array, *, mean_use: float) -> Variables:
        """Begin at `[K, D]`, every code used equally: one that nobody chooses falls below the mean at once."""
        uses = jnp.full(codebook.shape[0], mean_use, jnp.float32)
        return Variables((), EmaState(codebook, uses, codebook * mean_use))

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Choose the nearest codes, then move them."""
        state: EmaState = variables.moved
        codes = nearest(latents, state.codebook)
        chosen = state.codebook[codes]
        commitment = pull(latents, chosen)
        moved, restarted = update(state, jax.lax.stop_gradient(latents), codes, key, config=self)
        terms = {"commitment": commitment, "restarted": restarted.astype(jnp.float32)}
        return Quantized(straight_through(latents, chosen), codes, self.commitment * commitment, moved, terms)

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the codebook."""
        codebook: jax.Array = variables.moved.codebook
        return codebook


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
