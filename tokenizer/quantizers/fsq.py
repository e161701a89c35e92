"""FSQ: the codebook is not learned; each dim of a bounded latent is rounded to one of a few levels.

Mentzer et al., "Finite Scalar Quantization" (arXiv 2309.15505). The implicit codebook is stored explicitly as the grid
of all combinations of levels, K = their product, so codes and checkpoints have the same format as for the other
quantizers. The code of a latent is the grid point nearest to its tanh, which equals rounding each dim. The levels of
a dim are evenly spaced from -1 to 1, both included. For an even number of levels the paper shifts them so that 0 is a
level; here they stay symmetric.

Cost: a search through the grid, 2·N·K·D flops with D from 3 to 6, instead of N·D; negligible next to a convolution.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from schemas.errors import ConfigError
from tokenizer.config import VqganConfig
from tokenizer.quantizers.base import Quantized, Variables, straight_through
from tokenizer.quantizers.lookup import find_codes


@dataclass(frozen=True, kw_only=True)
class FsqConfig:
    """Options of the grid."""

    levels: tuple[int, ...] = (8, 5, 5, 5)  # per dim; D is their number, K their product (here 1,000)

    def __post_init__(self) -> None:
        """Validate the fields; raises ConfigError."""
        if not self.levels or min(self.levels) < 2:
            raise ConfigError(f"levels must be one or more numbers of at least 2, got {self.levels}")

    def configure(self, model: VqganConfig) -> VqganConfig:
        """Return the model with the K and D of the grid."""
        return dataclasses.replace(
            model, latent_dim=len(self.levels), codebook_size=math.prod(self.levels), lookup="bounded"
        )

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_count: float) -> Variables:
        """Return the grid."""
        return Variables((), self.grid())

    def init_from_codebook(self, codebook: jax.Array, *, mean_count: float) -> Variables:
        """Return the grid; raises ConfigError if `codebook` is not the grid of these levels."""
        grid = self.grid()
        if codebook.shape != grid.shape or not np.allclose(codebook, grid, atol=1e-3):  # a file may store float16
            raise ConfigError(
                f"the checkpoint's codebook {list(codebook.shape)} is not the grid of the levels {self.levels}: "
                "give the levels that it was trained with"
            )
        return Variables((), grid)

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Round the bounded latents; the gradient passes straight through the rounding, and through tanh."""
        grid: jax.Array = variables.state
        codes = find_codes(latents, grid, lookup="bounded")
        return Quantized(straight_through(jnp.tanh(latents), grid[codes]), codes, jnp.zeros(()), grid, {})

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the grid."""
        grid: jax.Array = variables.state
        return grid

    def grid(self) -> jax.Array:
        """Return all combinations of levels, `[K, D]`, with the last dim varying fastest."""
        dims = [np.linspace(-1, 1, levels, dtype=np.float32) for levels in self.levels]
        return jnp.asarray(np.stack(np.meshgrid(*dims, indexing="ij"), axis=-1).reshape(-1, len(dims)))
