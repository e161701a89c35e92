"""FSQ: no codebook is learned; each dim of a bounded latent is rounded to one of a few levels.

Mentzer et al., "Finite Scalar Quantization" (arXiv 2309.15505). The implicit codebook is written out as the grid of
all combinations of levels, K = their product, so that codes and checkpoints are as everybody's: the code is the
grid's nearest point to tanh(latent), which is rounding dim by dim. Levels of every dim lie evenly from -1 to 1, ends
included; where their number is even the paper shifts them to have 0 among them, and here they are left symmetric.

Cost: the search through the grid, 2·N·K·D flops with a D of 3 to 6, instead of N·D: seen beside no convolution.
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
from tokenizer.quantizers.lookup import find


@dataclass(frozen=True, kw_only=True)
class FsqConfig:
    """The grid."""

    levels: tuple[int, ...] = (8, 5, 5, 5)  # of each dim; their number is D, their product K (here 1,000)

    def __post_init__(self) -> None:
        """Check what cannot be right; raises ConfigError."""
        if not self.levels or min(self.levels) < 2:
            raise ConfigError(f"levels must be one or more numbers of at least 2, got {self.levels}")

    def fit(self, model: VqganConfig) -> VqganConfig:
        """Return the model with the grid's K and D."""
        return dataclasses.replace(
            model, latent_dim=len(self.levels), codebook_size=math.prod(self.levels), lookup="bounded"
        )

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_use: float) -> Variables:
        """Return the grid."""
        return Variables((), self.grid())

    def begin(self, codebook: jax.Array, *, mean_use: float) -> Variables:
        """Return the grid; raises ConfigError where `codebook` is none of these levels."""
        grid = self.grid()
        if codebook.shape != grid.shape or not np.allclose(codebook, grid, atol=1e-3):  # a file may hold float16
            raise ConfigError(
                f"the checkpoint's codebook {list(codebook.shape)} is not the grid of the levels {self.levels}: "
                "give the levels that it was made with"
            )
        return Variables((), grid)

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        """Round the bounded latents; the gradient passes the rounding, not the bound."""
        grid: jax.Array = variables.moved
        codes = find(latents, grid, lookup="bounded")
        return Quantized(straight_through(jnp.tanh(latents), grid[codes]), codes, jnp.zeros(()), grid, {})

    def codebook(self, variables: Variables) -> jax.Array:
        """Return the grid."""
        grid: jax.Array = variables.moved
        return grid

    def grid(self) -> jax.Array:
        """Return all combinations of levels, `[K, D]`, the last dim changing fastest."""
        dims = [np.linspace(-1, 1, levels, dtype=np.float32) for levels in self.levels]
        return jnp.asarray(np.stack(np.meshgrid(*dims, indexing="ij"), axis=-1).reshape(-1, len(dims)))
